"""Several upstreams in order: where one cannot speak, the next one does, and the reply says so.

The next one is asked when the one before has failed before its first delta in a way that another may not (failures.py says which), be it
that its circuit is open or that its own time for the first delta is over. After the first delta nobody else is asked: a reply in two voices
is none.

All of them share the caller's time. One that has others behind it may use half of what is left for its first delta, retries included;
otherwise a first one that hangs would leave the second no time to help. Each has its own circuit and its own budget of retries.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass

from limbic.runtime.deadline import Deadline
from limbic.runtime.logs import get_logger
from services.living_llm.failures import Failure, PromptTooLongError, RejectedFailure, most_hopeful
from services.living_llm.metrics import FALLBACKS
from services.living_llm.speech import Delta, Finished, Speech, Started
from services.living_llm.upstream import Description
from services.living_llm.voice import Attempt, Opened, Voice

_log = get_logger(__name__)

_SHARE = 0.5
"""Of the time that is left, for the first delta of an upstream that has others behind it."""


@dataclass(frozen=True, slots=True)
class Begun:
    """Somebody speaks. `instead_of` says why it is not the first upstream; None where it is."""

    started: Started
    instead_of: Failure | None


@dataclass(frozen=True, slots=True)
class Done:
    """The reply is complete, with every try that was made for it."""

    finished: Finished
    attempts: tuple[Attempt, ...]


VoiceEvent = Begun | Delta | Done
"""The order is: Begun, Delta…, Done."""


class Voices:
    """Speaks through the first upstream that can.

    Args:
        voices: in the order in which they are asked; at least one.
    """

    def __init__(self, voices: Sequence[Voice]) -> None:
        self._voices = tuple(voices)

    async def describe(self) -> list[tuple[Description, str]]:
        """Say which models speak, in order, each with the state of its circuit."""
        described = await asyncio.gather(*(voice.describe() for voice in self._voices))
        return [(one, voice.circuit.value) for one, voice in zip(described, self._voices, strict=True)]

    async def check(self, speech: Speech) -> None:
        """Raise what no try could mend. The first upstream's window counts: it is the one that is meant to speak.

        Raises:
            PromptTooLongError: persona and last message do not fit it.
            Failure: that cannot be told.
        """
        await self._voices[0].check(speech)

    async def speak(self, speech: Speech, deadline: Deadline) -> AsyncGenerator[VoiceEvent]:
        """Make a reply. Closing the generator cancels the upstream that speaks.

        Raises:
            Failure: no reply could be had, or, a CutFailure, not all of it.
            PromptTooLongError: persona and last message do not fit the first upstream's window.
        """
        attempts: list[Attempt] = []
        voice, opened, failures = await self._open(speech, deadline, attempts)
        async with aclosing(voice.tell(opened, deadline, attempts)) as events:
            async for event in events:
                if isinstance(event, Started):
                    yield Begun(event, failures[0] if failures else None)
                elif isinstance(event, Finished):
                    yield Done(event, tuple(attempts))
                else:
                    yield event

    async def _open(
        self, speech: Speech, deadline: Deadline, attempts: list[Attempt]
    ) -> tuple[Voice, Opened, list[Failure]]:
        failures: list[Failure] = []
        for behind, voice in zip(reversed(range(len(self._voices))), self._voices, strict=True):
            allowed = Deadline.after(deadline.remaining() * _SHARE) if behind else deadline
            try:
                opened = await voice.open(speech, allowed, attempts, another_speaks=behind > 0)
            except PromptTooLongError:
                if not failures:
                    raise
                failures.append(_too_small(voice.name))
            except Failure as failure:
                failures.append(failure)
                if not failure.another_may_speak or deadline.remaining() == 0:
                    break
            else:
                if failures:
                    _tell_of(voice.name, failures[0])
                return voice, opened, failures
        raise most_hopeful(failures)


def _too_small(upstream: str) -> Failure:
    failure = RejectedFailure("window", "persona and last message do not fit its window")
    failure.upstream = upstream
    return failure


def _tell_of(upstream: str, failure: Failure) -> None:
    FALLBACKS.labels(upstream, failure.kind).inc()
    _log.warning("a fallback speaks", upstream=upstream, instead_of=failure.upstream, reason=failure.kind)
