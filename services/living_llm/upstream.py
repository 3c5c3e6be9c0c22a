"""What an upstream is: something that speaks."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Protocol

from services.living_llm.speech import Speech, UpstreamEvent


@dataclass(frozen=True, slots=True)
class Description:
    """Which model speaks.

    Attributes:
        name: the upstream's configured name.
        kind: embedded or openai.
        model: the model's name; empty where it is not known yet.
        context_tokens: its window; 0 where the upstream does not say.
        sha256: of the model file; empty where it is not ours to know.
    """

    name: str
    kind: str
    model: str
    context_tokens: int
    sha256: str


class Upstream(Protocol):
    """Speaks, one try at a time. Retries and time limits stand around it: who has waited long enough closes the generator."""

    @property
    def name(self) -> str:
        """Its configured name."""
        ...

    async def start(self) -> None:
        """Load or open what is needed."""
        ...

    async def stop(self) -> None:
        """Let go of it, also after a `start` that failed."""
        ...

    async def describe(self) -> Description:
        """Say which model speaks, as far as it is known."""
        ...

    async def check(self, speech: Speech) -> None:
        """Tell, without speaking, whether the prompt fits; an upstream that does not know its window says nothing.

        Raises:
            PromptTooLongError: persona and last message do not fit the window.
            Failure: that cannot be told.
        """
        ...

    def generate(self, speech: Speech) -> AsyncGenerator[UpstreamEvent]:
        """Try once: Started, Delta…, Finished. Closing the generator cancels the computation.

        Raises:
            Failure: the try failed; of which class, it says itself.
            PromptTooLongError: persona and last message do not fit the window.
        """
        ...
