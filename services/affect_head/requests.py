"""Checks what callers send, and makes an utterance of it."""

from __future__ import annotations

from collections.abc import Sequence

from limbic.runtime.errors import InvalidArgumentError
from limbic.runtime.validate import text as checked_text
from services.affect_head.head import MAX_CONTEXT_TURNS, Reading, Utterance

MAX_CHARS = 8_000
"""Unicode code points of a text, and of each turn of its context."""


def utterance_of(text: str, context: Sequence[str]) -> Utterance:
    """Check the words and their context.

    Raises:
        InvalidArgumentError: with the field `text`, `context` or `context[i]`.
    """
    checked_text("text", text, MAX_CHARS)
    if len(context) > MAX_CONTEXT_TURNS:
        raise InvalidArgumentError(
            "context", f"must have at most {MAX_CONTEXT_TURNS} earlier turns; it has {len(context)}"
        )
    turns = tuple(checked_text(f"context[{index}]", turn, MAX_CHARS) for index, turn in enumerate(context))
    return Utterance(text, turns)


def refuse_blank(reading: Reading) -> Reading:
    """Return the reading, unless nothing of the text reached the model.

    Raises:
        InvalidArgumentError: with the field `text`.
    """
    if reading.blank:
        raise InvalidArgumentError(
            "text", "holds nothing that this head can read: it knows Latin letters, digits, punctuation and emoji"
        )
    return reading
