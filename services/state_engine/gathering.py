"""From a turn and a moment to the fold of what stands before it: which stimuli have to be gone over from which fold that is known."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

from services.state_engine.folds import AFTER_ALL, Fold, Folder, Key
from services.state_engine.known_folds import MARK_EVERY, Folded, KnownFolds
from services.state_engine.stimuli import Stimuli
from services.state_engine.turn_tree import NOWHERE, TurnTree

_AT_ONCE = 4_096
"""Impulses that are put into one array, so that a fold over a whole session does not hold them all twice."""


@dataclass(frozen=True, slots=True)
class Gathered:
    """What a fold goes over: from a known fold on, the turns of a path, the uppermost first, and of each the stimuli that it lacks."""

    turn: int
    end: Key
    base: Fold
    path: Sequence[int]
    stimuli: Sequence[Sequence[int]]
    marks: list[Fold]
    """Those that the uppermost turn has already; `stimuli` are those after the last of them."""


class Gathering:
    """Looks through a session's tree. Any thread may do so.

    Args:
        tree: the turns.
        stimuli: what was felt at them.
        known: the folds that are known.
    """

    __slots__ = ("_known", "_stimuli", "_tree")

    def __init__(self, tree: TurnTree, stimuli: Stimuli, known: KnownFolds) -> None:
        self._tree = tree
        self._stimuli = stimuli
        self._known = known

    def before(self, turn: int, end: Key) -> Sequence[int]:
        """Return those of a turn's own stimuli that stand before a key, in canonical order."""
        own = self._stimuli.at(turn)
        return own[: bisect_left(own, end, key=self._stimuli.key)] if own and end != AFTER_ALL else [*own]

    def of(self, turn: int, end: Key, nothing: Fold) -> Gathered:
        """Return what the fold of all before `end` on a turn's path goes over. `nothing` is the fold of nothing."""
        found = self.within(turn, end, nothing, None)
        assert found is not None
        return found

    def within(self, turn: int, end: Key, nothing: Fold, most: int | None) -> Gathered | None:
        """Return the same, or None where it would be more turns and stimuli than `most`."""
        start = turn if end == AFTER_ALL else self._up_to(turn, end)
        key, parents = self._stimuli.key, self._tree.parents
        path: list[int] = []
        stimuli: list[Sequence[int]] = []
        marks: list[Fold] = []
        base: Fold | None = None
        earliest, passed, number = end, 0, start
        while number != NOWHERE:
            base = self._known.of(number)
            if base is not None and base.last < earliest:
                break
            own = self.before(number, end)
            if own:
                marks = self._marks_before(number, own, earliest)
                base = marks[-1] if marks else None
                own = own[len(marks) * MARK_EVERY :]
                if own:
                    earliest = min(earliest, key(own[0]))
            path.append(number)
            stimuli.append(own)
            passed += 1 + len(own)
            if most is not None and passed > most:
                return None
            if base is not None and marks:
                break
            base, number = None, parents[number]
        path.reverse()
        stimuli.reverse()
        return Gathered(turn, end, nothing if base is None else base, path, stimuli, marks)

    def _marks_before(self, turn: int, own: Sequence[int], earliest: Key) -> list[Fold]:
        """Return the marks of a turn up to the last that the rest of its own stimuli and all from `earliest` on can continue."""
        marks = [*self._known.marks(turn)]
        key = self._stimuli.key
        while marks:
            taken, last = len(marks) * MARK_EVERY, marks[-1].last
            if last < earliest and taken <= len(own) and (taken == len(own) or last < key(own[taken])):
                break
            marks.pop()
        return marks

    def _up_to(self, turn: int, end: Key) -> int:
        """Return a turn on the path to one, as far up as is quickly found, below which nothing stands before a key."""
        tree = self._tree
        milestone = tree.milestones[tree.anchors[turn]]
        number = turn
        while number != milestone.turn:
            if self.before(number, end):
                return turn
            number = tree.parents[number]
        fold = milestone.fold
        if fold is None or not fold.ordered or fold.last < end:
            return turn
        # On an ordered path nothing that happened by then stands below the first turn that had not been felt whole.
        while (up := milestone.parent) is not None and _is_after(up.fold, end):
            milestone = milestone.jump if _is_after(milestone.jump.fold, end) else up
        return milestone.turn


def _is_after(fold: Fold | None, end: Key) -> bool:
    return fold is not None and fold.last >= end


def fold(gathered: Gathered, folder: Folder, stimuli: Stimuli, tree: TurnTree) -> Folded:
    """Fold what was gathered, in canonical order, and take along the folds of whole paths that come up on the way."""
    places = [place for place, own in enumerate(gathered.stimuli) for _ in own]
    numbers = [number for own in gathered.stimuli for number in own]
    keys = [stimuli.key(number) for number in numbers]
    order: Sequence[int] = range(len(keys))
    if any(before > after for before, after in pairwise(keys)):
        order = sorted(order, key=keys.__getitem__)
    walk = _Walk(gathered, tree)
    walk.arrived(gathered.base)
    current = gathered.base
    for first in range(0, len(order), _AT_ONCE):
        some = order[first : first + _AT_ONCE]
        impulses = stimuli.impulses([numbers[index] for index in some])
        for index, impulse in zip(some, impulses, strict=True):
            current = walk.passed(places[index], folder.step(current, keys[index], impulse))
    return Folded(gathered.turn, gathered.end, current, walk.milestones, [*walk.marks.items()])


class _Walk:
    """Where a fold in canonical order stands on its path, and which of the folds on the way are those of whole paths.

    After r stimuli, of which the lowest stands at the turn m of the path, the fold is that of the whole path of each turn from m on up to
    which there are r stimuli. So it need not be in the order of the turns for that.
    """

    __slots__ = (
        "_counts",
        "_here",
        "_milestone",
        "_passed",
        "_path",
        "_place",
        "_taken",
        "_whole",
        "marks",
        "milestones",
    )

    def __init__(self, gathered: Gathered, tree: TurnTree) -> None:
        self._whole = gathered.end == AFTER_ALL
        self._path = gathered.path
        self._counts = [*accumulate(len(own) for own in gathered.stimuli)]
        self._taken = len(gathered.marks) * MARK_EVERY
        self._milestone = tree.milestone
        # The lowest turn that has been reached, how many stimuli have been passed, and how many of them are that turn's.
        self._place = self._passed = self._here = 0
        self.milestones: list[tuple[int, Fold]] = []
        self.marks: dict[int, list[Fold]] = {gathered.path[0]: gathered.marks} if gathered.marks else {}

    def passed(self, place: int, fold: Fold) -> Fold:
        """Take note of a stimulus, and return the fold with it."""
        self._passed += 1
        if place == self._place:
            self._here += 1
        elif place > self._place:
            self._place, self._here = place, 1
        elif fold.ordered:
            fold = Fold(fold.state, fold.last, ordered=False)
        if self._whole:
            self._mark(fold)
            self.arrived(fold)
        return fold

    def arrived(self, fold: Fold) -> None:
        """Take note of the milestones of whose whole path this is the fold."""
        if not self._whole:
            return
        place = self._place
        while place < len(self._path) and self._counts[place] == self._passed:
            if self._milestone(self._path[place]) is not None:
                self.milestones.append((self._path[place], fold))
            place += 1

    def _mark(self, fold: Fold) -> None:
        place = self._place
        above = self._counts[place - 1] if place else 0
        own = self._here if place else self._taken + self._here
        # Only if all that stands above has been passed too.
        if self._passed == above + self._here and own % MARK_EVERY == 0:
            marks = self.marks.setdefault(self._path[place], [])
            if len(marks) == own // MARK_EVERY - 1:
                marks.append(fold)
