"""Folding: from stimuli in canonical order to a state, starting from the longest fold that is known already.

Here are the parts; what a session's tree does with them, and why, stands in `timeline`.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Final

from services.state_engine.dynamics import Dynamics, Vector
from services.state_engine.session_time import SessionTime

Key = tuple[int, str]
"""(event time in nanoseconds since the epoch, stimulus id): the canonical order."""

BEFORE_ALL: Final[Key] = (-(2**63), "")
AFTER_ALL: Final[Key] = (2**63, "")

MARK_EVERY: Final = 32
"""Own stimuli of a turn between two folds that are kept: what a late one among thousands costs, against memory."""

KEY = attrgetter("key")


@dataclass(frozen=True, slots=True)
class Stimulus:
    """One thing that was felt: its place in the canonical order and what it adds to z, shape (2n,)."""

    key: Key
    impulse: Vector


@dataclass(frozen=True, slots=True)
class Fold:
    """The state z right after the last of some stimuli, and that one's key."""

    state: Vector
    last: Key


class Node:
    """A turn. `fold` is that of its whole path, or None where it must be computed again.

    `known_below` says that some descendant may have a fold though this turn has none. `marks[j]` is the fold of the parent's whole path
    and the first (j + 1)·MARK_EVERY of the own stimuli. `ordered` says that on the whole path each turn's stimuli come after
    everything before it. `jump` is an ancestor far away (a skew-binary ladder). `number` counts turns in the order in which they came.
    """

    __slots__ = (
        "children", "depth", "fold", "jump", "known_below", "marks", "number", "ordered", "parent", "stimuli", "turn_id",
    )  # fmt: skip

    def __init__(self, turn_id: str, number: int, parent: Node | None, fold: Fold | None) -> None:
        self.turn_id = turn_id
        self.number = number
        self.parent = parent
        self.fold = fold
        self.children: list[Node] = []
        self.stimuli: list[Stimulus] = []
        self.marks: list[Fold] = []
        self.known_below = False
        self.ordered = True
        self.depth = 0
        self.jump = self
        if parent is not None:
            self.ordered = parent.ordered
            self.depth = parent.depth + 1
            far = parent.jump
            self.jump = far.jump if parent.depth - far.depth == far.depth - far.jump.depth else parent

    @property
    def known(self) -> Fold:
        """The fold, where it is known to be there."""
        if self.fold is None:
            raise RuntimeError("a fold is used before it is computed")
        return self.fold


class Folder:
    """Folds under one law and one clock.

    Args:
        dynamics: the law.
        time: the session's own clock.
    """

    __slots__ = ("_dynamics", "nothing", "time")

    def __init__(self, dynamics: Dynamics, time: SessionTime) -> None:
        self._dynamics = dynamics
        self.time = time
        self.nothing = Fold(dynamics.rest(), BEFORE_ALL)

    def step(self, fold: Fold, stimulus: Stimulus) -> Fold:
        """Return a fold with one stimulus more, which comes after all that it holds."""
        return Fold(self.at(fold, stimulus.key[0]) + stimulus.impulse, stimulus.key)

    def at(self, fold: Fold, moment_ns: int) -> Vector:
        """Return z at a moment after the last stimulus of a fold, shape (2n,)."""
        if fold.last == BEFORE_ALL:
            return fold.state
        return self._dynamics.advance(fold.state, self.time.elapsed_s(fold.last[0], moment_ns))

    def of(self, node: Node) -> Fold:
        """Return the fold of a turn's whole path; its parent's is known. Sets `ordered` and keeps marks on the way."""
        own, parent = node.stimuli, node.parent
        base = self.nothing if parent is None else parent.known
        node.ordered = (parent is None or parent.ordered) and (not own or own[0].key > base.last)
        while node.marks and not _continues(own, len(node.marks) * MARK_EVERY, node.marks[-1]):
            node.marks.pop()
        if node.marks:
            base = node.marks[-1]
        elif not _continues(own, 0, base):
            return self.before(parent, own, AFTER_ALL)
        for index in range(len(node.marks) * MARK_EVERY, len(own)):
            base = self.step(base, own[index])
            if (index + 1) % MARK_EVERY == 0:
                node.marks.append(base)
        return base

    def before(self, node: Node | None, others: Sequence[Stimulus], end: Key) -> Fold:
        """Fold `others`, which are in order, together with all before `end` on the path that ends with a turn.

        Starts from the nearest known fold that lies before all of that.
        """
        stimuli = list(others)
        earliest = stimuli[0].key if stimuli else end
        base = self.nothing
        while node is not None:
            known = _known_before(node, earliest, end)
            base, taken = known or (self.nothing, 0)
            own = node.stimuli[taken : bisect_left(node.stimuli, end, key=KEY)]
            stimuli += own
            if known is not None:
                break
            if own:
                earliest = min(earliest, own[0].key)
            node = node.parent
        for stimulus in sorted(stimuli, key=KEY):
            base = self.step(base, stimulus)
        return base

    def goes_far_back(self, node: Node, most: int) -> bool:
        """Whether the fold of a turn, whose parent's is known, starts from a fold more than so many turns and stimuli back."""
        own, back = node.stimuli, node.parent
        earliest = own[0].key if own else AFTER_ALL
        passed = 0
        while back is not None and (back.fold is None or back.fold.last >= earliest):
            passed += 1 + len(back.stimuli)
            if passed > most:
                return True
            if back.stimuli:
                earliest = min(earliest, back.stimuli[0].key)
            back = back.parent
        return False


def _continues(own: Sequence[Stimulus], taken: int, fold: Fold) -> bool:
    return taken == len(own) or own[taken].key > fold.last


def _known_before(node: Node, earliest: Key, end: Key) -> tuple[Fold, int] | None:
    """Return the longest fold kept at a node that the rest, from `earliest` on, can continue; and how many of its stimuli it holds."""
    limit = min(earliest, end)
    if node.fold is not None and node.fold.last < limit:
        return node.fold, len(node.stimuli)
    for count in range(min(len(node.marks), bisect_left(node.stimuli, limit, key=KEY) // MARK_EVERY), 0, -1):
        mark = node.marks[count - 1]
        if mark.last < limit and _continues(node.stimuli, count * MARK_EVERY, mark):
            return mark, count * MARK_EVERY
    return None
