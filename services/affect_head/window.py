"""Fits words and their context into the model's window."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

CLS_AND_SEP = 2
_SMALLEST_TURN = 2
"""One token and its [SEP]."""


@dataclass(frozen=True, slots=True)
class ContextRule:
    """When a head reads earlier turns beside the words: its file says so, because it is measured head by head.

    Attributes:
        turns: most turns, the last ones; 0: none is read.
        text_tokens: words of more tokens are read alone, [CLS] and [SEP] not counted.
        turn_tokens: a turn of more tokens is left out.
    """

    turns: int
    text_tokens: int
    turn_tokens: int

    def choose(
        self, text: Sequence[int], turns: Sequence[str], tokenize: Callable[[str], list[int]]
    ) -> list[list[int]]:
        """Return the ids of those `turns` (oldest first) that are read beside the words whose ids are `text`."""
        if not self.turns or len(text) > self.text_tokens:
            return []
        return [ids for ids in map(tokenize, turns[-self.turns :]) if 0 < len(ids) <= self.turn_tokens]


def fit(text: list[int], turns: Sequence[list[int]], *, window: int, cls: int, sep: int) -> tuple[list[int], bool, int]:
    """Lay out token ids as `[CLS] turn [SEP] turn [SEP] text [SEP]`.

    Where that is too long the context gives way first, its oldest tokens before its newest. Only where the text alone is
    too long is it cut as well, at its beginning: what was said last is what is being answered.

    Args:
        text: ids of the words to judge.
        turns: ids of the earlier turns, oldest first.
        window: most ids that the model takes.
        cls: id of [CLS].
        sep: id of [SEP].

    Returns:
        At most `window` ids, whether the text itself was cut, and how many turns stand before it, the oldest perhaps cut.
    """
    room = window - CLS_AND_SEP - len(text)
    if room < 0:
        return [cls, *text[-room:], sep], True, 0
    context: list[int] = []
    count = 0
    for turn in reversed(turns):
        if room < _SMALLEST_TURN:
            break
        kept = turn[-(room - 1) :]
        context[:0] = [*kept, sep]
        room -= len(kept) + 1
        count += 1
    return [cls, *context, *text, sep], False, count
