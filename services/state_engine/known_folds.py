"""The folds of a session's tree that need not be made again, and what must be forgotten when something changes.

Kept are those of whole paths, at milestones and at the turns that were used last; between the stimuli of turns that have many; and those of
past moments that somebody is about to use.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from services.state_engine.folds import AFTER_ALL, Fold, Key
from services.state_engine.turn_tree import TurnTree

MARK_EVERY: Final = 32
"""Own stimuli of a turn between two folds that are kept: what a late one among thousands costs, against memory."""

_RECENT: Final = 64
"""Turns besides the milestones, the ones used last: a conversation and its swipes find their parent there."""

_ANSWERS: Final = 8
"""Past moments."""


@dataclass(frozen=True, slots=True)
class Folded:
    """What one fold over a path has found: the fold of all before `end` at a turn, and on the way those of milestones and marks."""

    turn: int
    end: Key
    fold: Fold
    milestones: Sequence[tuple[int, Fold]]
    marks: Sequence[tuple[int, list[Fold]]]


class KnownFolds:
    """See above. Any thread may ask; only the one that owns the session changes something.

    Args:
        tree: the turns.
    """

    __slots__ = ("_answers", "_marks", "_recent", "_tree")

    def __init__(self, tree: TurnTree) -> None:
        self._tree = tree
        self._recent: dict[int, Fold] = {}
        self._marks: dict[int, list[Fold]] = {}
        self._answers: dict[tuple[int, Key], Fold] = {}

    def all(self) -> dict[int, Fold]:
        """Return those of whole paths, by turn."""
        milestones = self._tree.milestones.items()
        return {turn: milestone.fold for turn, milestone in milestones if milestone.fold is not None} | self._recent

    def of(self, turn: int) -> Fold | None:
        """Return the fold of a turn's whole path, if it is known."""
        fold = self._recent.get(turn)
        if fold is None:
            milestone = self._tree.milestone(turn)
            return None if milestone is None else milestone.fold
        return fold

    def marks(self, turn: int) -> Sequence[Fold]:
        """Return the marks of a turn: j is the fold of its parent's whole path and of its own first (j + 1)·MARK_EVERY stimuli."""
        return self._marks.get(turn, ())

    def answer(self, turn: int, end: Key) -> Fold | None:
        """Return the fold of what stands before a past moment, if it is known."""
        return self._answers.get((turn, end))

    def keep(self, turn: int, fold: Fold) -> None:
        """Take note of the fold of a turn's whole path."""
        recent = self._recent
        recent.pop(turn, None)
        recent[turn] = fold
        if len(recent) > _RECENT:
            del recent[next(iter(recent))]
        milestone = self._tree.milestone(turn)
        if milestone is not None:
            milestone.fold = fold

    def keep_mark(self, turn: int, count: int, fold: Fold) -> None:
        """Take note that a fold is that of a turn's whole path with `count` stimuli of its own, if that is where a mark stands."""
        if count % MARK_EVERY == 0:
            marks = self._marks.setdefault(turn, [])
            if len(marks) == count // MARK_EVERY - 1:
                marks.append(fold)

    def keep_all(self, found: Folded) -> None:
        """Take note of what a fold over a path has found."""
        for turn, fold in found.milestones:
            self._tree.milestones[turn].fold = fold
        self._marks.update(found.marks)
        if found.end == AFTER_ALL:
            self.keep(found.turn, found.fold)
        elif len(self._answers) < _ANSWERS:
            self._answers[found.turn, found.end] = found.fold
        else:
            self._answers = {(found.turn, found.end): found.fold}

    def forget(self, turn: int, index: int = 0) -> None:
        """Forget what is wrong because the stimuli of a turn are others than they were, from the one with this index on."""
        self._recent.pop(turn, None)
        milestone = self._tree.milestone(turn)
        if milestone is not None:
            milestone.fold = None
        if turn in self._marks:
            del self._marks[turn][index // MARK_EVERY :]
        self._answers.clear()
        self.forget_below(turn)

    def forget_below(self, turn: int) -> None:
        """Forget what is known of the turns that follow from one."""
        tree = self._tree
        if turn == len(tree) - 1:
            return  # nothing follows from the latest
        self._answers.clear()
        for known in (self._recent, self._marks):
            for other in [other for other in known if other > turn and tree.is_below(other, turn)]:
                del known[other]
        for milestone in tree.milestones_below(turn):
            milestone.fold = None

    def forget_after(self, moment_ns: int) -> None:
        """Forget what rests on how the session's own clock tells later moments."""
        for milestone in self._tree.milestones.values():
            if milestone.fold is not None and milestone.fold.last[0] > moment_ns:
                milestone.fold = None
        self._recent = {turn: fold for turn, fold in self._recent.items() if fold.last[0] <= moment_ns}
        for marks in self._marks.values():
            del marks[bisect_left(marks, moment_ns + 1, key=lambda mark: mark.last[0]) :]
        self._answers.clear()
