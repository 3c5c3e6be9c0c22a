"""The turns of a session as columns: numbers in the order in which they came, and for each its parent and its depth.

A session of 100,000 turns is a few arrays this way and not as many objects, so that a snapshot is read and written as fast as memory is
copied. A parent has a smaller number than its children. Number 0 is the root, which stands before the first turn and has the id "".

**Milestones.** Each turn whose depth is a multiple of EVERY is one, and the root is the first. They are a tree of their own, through which
whatever concerns a long path goes in steps of EVERY turns.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from typing import Final

from services.state_engine.folds import Fold

EVERY: Final = 32
"""Turns between two milestones: what the state at any turn costs at most in steps, against a fold that is kept for each milestone."""

ROOT: Final = 0
NOWHERE: Final = -1
"""The number of the root's parent."""


class Milestone:
    """A turn at which the fold of the whole path is kept; None where it must be computed again.

    `jump` is a milestone far up the path (a skew-binary ladder), and `rank` counts the milestones above.
    """

    __slots__ = ("children", "fold", "jump", "parent", "rank", "turn")

    def __init__(self, turn: int, parent: Milestone | None) -> None:
        self.turn = turn
        self.parent = parent
        self.fold: Fold | None = None
        self.children: list[Milestone] = []
        self.rank = 0
        self.jump = self
        if parent is not None:
            parent.children.append(self)
            self.rank = parent.rank + 1
            far = parent.jump
            self.jump = far.jump if parent.rank - far.rank == far.rank - far.jump.rank else parent

    def below(self) -> Iterator[Milestone]:
        """Yield the milestones that follow from this one."""
        waiting = [*self.children]
        while waiting:
            milestone = waiting.pop()
            yield milestone
            waiting += milestone.children


class TurnTree:
    """The turns of one session.

    Attributes:
        ids: each turn's id.
        numbers: each turn's number, by its id.
        parents: each turn's parent's number; NOWHERE for the root.
        depths: how many turns stand before each on its path.
        anchors: the number of the last milestone on each turn's path.
        milestones: by number.
    """

    __slots__ = ("anchors", "depths", "ids", "milestones", "numbers", "parents")

    def __init__(self) -> None:
        self.ids = [""]
        self.numbers = {"": ROOT}
        self.parents = array("i", [NOWHERE])
        self.depths = array("i", [0])
        self.anchors = array("i", [ROOT])
        self.milestones = {ROOT: Milestone(ROOT, None)}

    @classmethod
    def of(cls, ids: list[str], parents: array[int], depths: array[int], anchors: array[int]) -> TurnTree:
        """Return the tree that columns make up which another tree had."""
        tree = cls()
        tree.ids, tree.parents, tree.depths, tree.anchors = ids, parents, depths, anchors
        tree.numbers = dict(zip(ids, range(len(ids)), strict=True))
        for number in [number for number, anchor in enumerate(anchors) if number == anchor != ROOT]:
            tree.milestones[number] = Milestone(number, tree.milestones[anchors[parents[number]]])
        return tree

    def __len__(self) -> int:
        return len(self.ids)

    def add(self, turn_id: str, parent: int) -> int:
        """Add a turn after another one, and return its number."""
        number, depth = len(self.ids), self.depths[parent] + 1
        anchor = self.anchors[parent]
        if depth % EVERY == 0:
            self.milestones[number] = Milestone(number, self.milestones[anchor])
            anchor = number
        self.ids.append(turn_id)
        self.numbers[turn_id] = number
        self.parents.append(parent)
        self.depths.append(depth)
        self.anchors.append(anchor)
        return number

    def up(self, number: int) -> Iterator[int]:
        """Yield the turns from one back to the root."""
        parents = self.parents
        while number != NOWHERE:
            yield number
            number = parents[number]

    def milestone(self, number: int) -> Milestone | None:
        """Return the milestone at a turn, if it is one."""
        return self.milestones[number] if self.anchors[number] == number else None

    def is_below(self, number: int, other: int) -> bool:
        """Whether a turn is another one, or follows from it."""
        return self.depths[number] >= self.depths[other] and self.ancestor(number, self.depths[other]) == other

    def ancestor(self, number: int, depth: int) -> int:
        """Return the turn at a depth on the path to a turn that stands there or deeper."""
        depths, milestone = self.depths, self.milestones[self.anchors[number]]
        if depths[milestone.turn] >= depth:
            while (up := milestone.parent) is not None and depths[up.turn] >= depth:
                milestone = milestone.jump if depths[milestone.jump.turn] >= depth else up
            number = milestone.turn
        while depths[number] > depth:
            number = self.parents[number]
        return number

    def milestones_below(self, number: int) -> Iterator[Milestone]:
        """Yield the milestones that follow from a turn, which is not among them."""
        anchor = self.milestones[self.anchors[number]]
        for child in anchor.children:
            if self.is_below(child.turn, number):
                yield child
                yield from child.below()

    def left_behind(self, number: int, other: int) -> int | None:
        """Return the first turn on the path to a turn that is not on the path to another; None if all are."""
        depth = min(self.depths[number], self.depths[other])
        one, two = self.ancestor(number, depth), self.ancestor(other, depth)
        first, second = self.milestones[self.anchors[one]], self.milestones[self.anchors[two]]
        while first is not second:
            # They have the same rank, and so have what stands above them.
            one, two = first.turn, second.turn
            up, other_up = first.parent, second.parent
            assert up is not None
            assert other_up is not None
            if up is not other_up and first.jump is not second.jump:
                first, second = first.jump, second.jump
            else:
                first, second = up, other_up
        while one != two:
            one, two = self.parents[one], self.parents[two]
        return None if one == number else self.ancestor(number, self.depths[one] + 1)

    def subtree(self, number: int) -> Sequence[int]:
        """Return a turn and all that follow from it, in the order in which they were added."""
        found = {number}
        for later in range(number + 1, len(self.ids)):
            if self.parents[later] in found:
                found.add(later)
        return sorted(found)
