"""A generative run's every choice, in one frozen value that the head carries with it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from services.affect_head.generative.prompt_format import PromptFormat
from training.recipe import with_settings

WORDS = PromptFormat(
    opening="How does this message land?\n",
    closing="\n",
    questions=("pleasant:", "close:", "tense:"),
    reason="Reason:",
)
"""What a head is trained with. A model that learns the task needs no instructions, and every token costs a CPU its time: 7 tokens
that a server computes once, and 8 behind each message."""

NORMALIZER = "ascii-v1"
"""The rows' own rule (`training.text`)."""


@dataclass(frozen=True, slots=True)
class GenerativeRecipe:
    """How a generative head is trained; the defaults are those of the committed head."""

    seed: int = 17
    """Chooses the rows and every epoch's order, and seeds the initial weights: equal seeds give equal weights."""
    epochs: int = 3
    batch_rows: int = 16
    max_tokens: int = 64
    """Of a message; longer ones lose their beginning, as when served."""
    rows: dict[str, int] = field(
        default_factory=lambda: {"probes": 1_000_000, "emobank": 700, "question_intimacy": 700}
    )
    """Most rows of each source, drawn once. A source that carries no axis teaches a generative head nothing."""
    lora_rank: int = 8
    lora_alpha: int = 16
    """Alpha over rank is a power of two, which keeps the merge exact (`training.merge`)."""
    learning_rate: float = 5e-4
    weight_decay: float = 0.01
    warmup_share: float = 0.06
    """Of all steps, with the rate rising linearly; it then falls linearly to zero."""
    gradient_clip: float = 1.0
    bfloat16: bool = True
    """Hold the base in bfloat16 and autocast its matrix products; the adapter and the loss stay in float32."""

    def with_settings(self, settings: Sequence[str]) -> GenerativeRecipe:
        """Return this recipe with some fields changed by `key=value`, as `training.recipe.Recipe.with_settings` does.

        Raises:
            RecipeError: if a setting names no field, or its value is of another type than the field's.
        """
        return with_settings(self, settings)

    def as_dict(self) -> dict[str, Any]:
        """Return the fields as JSON-ready values."""
        return asdict(self)
