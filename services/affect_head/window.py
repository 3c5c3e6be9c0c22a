"""Fits words and their context into the model's window."""

from __future__ import annotations

from collections.abc import Sequence

CLS_AND_SEP = 2
_SMALLEST_TURN = 2
"""One token and its [SEP]."""


def fit(text: list[int], turns: Sequence[list[int]], *, window: int, cls: int, sep: int) -> tuple[list[int], bool]:
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
        At most `window` ids, and whether the text itself was cut.
    """
    room = window - CLS_AND_SEP - len(text)
    if room < 0:
        return [cls, *text[-room:], sep], True
    context: list[int] = []
    for turn in reversed(turns):
        if room < _SMALLEST_TURN:
            break
        kept = turn[-(room - 1) :]
        context[:0] = [*kept, sep]
        room -= len(kept) + 1
    return [cls, *context, *text, sep], False
