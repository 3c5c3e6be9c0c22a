"""Which words moved which axis, by occlusion: each word is left out once, and what the reading loses is what the word gave."""

from __future__ import annotations

import re
import string
from collections.abc import Sequence
from dataclasses import dataclass

from services.affect_head.head import AXES, Axes

_WORD = re.compile(r"\S+")

_SMALLEST_MOVE = 0.05
"""A contribution below a fortieth of an axis is not worth a word."""
_MOVES_TOLD = 3
"""Contributions that the sentence tells, at most."""

_DIRECTIONS = {
    "valence": ("more pleasant", "more unpleasant"),
    "intimacy": ("closer", "more distant"),
    "tension": ("more tense", "more at ease"),
}
"""What a positive and a negative contribution to each axis means."""


@dataclass(frozen=True, slots=True)
class Word:
    """A run of characters between white space, and the offset of its first one in code points."""

    text: str
    offset: int


@dataclass(frozen=True, slots=True)
class Contribution:
    """What a word gives to each axis: the reading with it less the reading without it, so −2…2."""

    word: Word
    axes: Axes


def words_of(text: str) -> list[Word]:
    """Return a text's words in their order. Punctuation belongs to the word that it touches."""
    return [Word(match.group(), match.start()) for match in _WORD.finditer(text)]


def without(text: str, word: Word) -> str:
    """Return the text with one word left out."""
    return text[: word.offset] + text[word.offset + len(word.text) :]


def contribution(word: Word, whole: Axes, rest: Axes) -> Contribution:
    """Compare the reading of the whole text with that of the rest."""
    return Contribution(
        word, Axes(whole.valence - rest.valence, whole.intimacy - rest.intimacy, whole.tension - rest.tension)
    )


def sentence_of(contributions: Sequence[Contribution]) -> str:
    """Return one sentence that tells the largest contributions, largest first."""
    moves = [
        (getattr(entry.axes, axis), axis, _bare(entry.word.text))
        for entry in contributions
        for axis in AXES
        if abs(getattr(entry.axes, axis)) >= _SMALLEST_MOVE
    ]
    if not moves:
        return "No single word moves the reading much."
    largest = sorted(moves, key=lambda move: -abs(move[0]))[:_MOVES_TOLD]
    parts = [f"“{word}” makes it {_DIRECTIONS[axis][move < 0]} ({axis} {move:+.2f})" for move, axis, word in largest]
    return _joined(parts) + "."


def _bare(word: str) -> str:
    return word.strip(string.punctuation) or word


def _joined(parts: Sequence[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
