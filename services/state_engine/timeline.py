"""A conversation as a tree of turns, each with the state that its own path to the root leads to.

**Canonical order.** A state is a fold over the stimuli of a path, always in the order of (event time, stimulus id), whatever order
they arrived in: advance to the next stimulus, add its impulse. Mathematically the order makes no difference (the law is a sum), but
in floating point it does, in the last bits. Since each fold here is this very one and not an increment upon what was there before, it
has the same bits as one that is rebuilt from the journal, for every order of arrival; and what is taken back leaves no trace.

**Cost.** Each turn keeps the fold over its whole path. If the stimuli of a turn come after everything on its parent's path, which they
do in a conversation, its fold is its parent's plus its own; otherwise it starts from the nearest ancestor whose path lies entirely
before. What a late stimulus makes wrong is forgotten at once and folded again when somebody asks. So a turn costs what it holds, a late
stimulus costs what stands after it, a question about the present costs one step, and one about the past the logarithm of the path.

**Causality.** A query at a moment takes in what had happened by then, and nothing else. A sibling's stimuli are on no path but its own.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable, Iterator
from typing import Final

from services.state_engine.dynamics import Dynamics, Vector
from services.state_engine.folds import AFTER_ALL, BEFORE_ALL, KEY, MARK_EVERY, Fold, Folder, Node, Stimulus
from services.state_engine.session_time import SessionTime

_NO_TIME: Final = SessionTime()

_FAR: Final = 64
"""Turns and stimuli that a turn's fold may go back over before it counts as costly."""


class Timeline:
    """The tree of one session. The root stands before the first turn and has the id "".

    Args:
        dynamics: the law.
        time: the session's own clock.
    """

    __slots__ = ("_folder", "_nodes", "_root")

    def __init__(self, dynamics: Dynamics, time: SessionTime = _NO_TIME) -> None:
        self._folder = Folder(dynamics, time)
        self._root = Node("", 0, None, self._folder.nothing)
        self._nodes = {"": self._root}

    def __contains__(self, turn_id: str) -> bool:
        return turn_id in self._nodes

    def __len__(self) -> int:
        return len(self._nodes) - 1

    def add_turn(self, turn_id: str, parent_id: str) -> None:
        """Add a turn after another, or after the root.

        Raises:
            ValueError: the turn is there already.
            KeyError: the parent is not.
        """
        if turn_id in self._nodes:
            raise ValueError("a turn is added once")
        parent = self._nodes[parent_id]
        node = Node(turn_id, len(self._nodes), parent, parent.fold)
        parent.children.append(node)
        self._nodes[turn_id] = node

    def add_stimulus(self, turn_id: str, stimulus: Stimulus) -> None:
        """Add a stimulus to a turn (or to the root), and with it to all that follow from that turn. The caller adds each id once.

        Raises:
            KeyError: the turn is not there.
        """
        node = self._nodes[turn_id]
        if node.fold is None or stimulus.key <= node.fold.last:
            # A mark that it falls before is dropped when the turn is folded again: what follows the mark does not continue it any more.
            insort(node.stimuli, stimulus, key=KEY)
            self._forget([node])
            return
        # What comes after all that is there, as in a conversation nearly everything does, is one step more of the same fold.
        node.stimuli.append(stimulus)
        node.fold = self._folder.step(node.fold, stimulus)
        if len(node.stimuli) == (len(node.marks) + 1) * MARK_EVERY:
            node.marks.append(node.fold)
        self._forget_below(node)

    def remove_stimulus(self, turn_id: str, stimulus_id: str) -> None:
        """Take a stimulus back: every state is then, bit for bit, as if it had never been added.

        Raises:
            KeyError: the turn is not there, or has no such stimulus.
        """
        node = self._nodes[turn_id]
        index = next((index for index, one in enumerate(node.stimuli) if one.key[1] == stimulus_id), None)
        if index is None:
            raise KeyError(stimulus_id)
        del node.stimuli[index]
        del node.marks[index // MARK_EVERY :]
        self._forget([node])

    def set_time(self, time: SessionTime, changed_ns: int) -> None:
        """Give the session another clock, which tells moments up to `changed_ns` as the one before did."""
        self._folder.time = time
        for node in self._nodes.values():
            if node.fold is not None and node.fold.last[0] > changed_ns:
                node.fold = None
            while node.marks and node.marks[-1].last[0] > changed_ns:
                node.marks.pop()

    def path(self, turn_id: str) -> Iterator[str]:
        """Yield the ids of the turns from a turn back to the first; nothing for the root."""
        for node in self._up(turn_id):
            if node is not self._root:
                yield node.turn_id

    def left_behind(self, turn_id: str, other_id: str) -> str | None:
        """Return the first turn on the path to a turn that is not on the path to another; None if all are."""
        node, other = self._nodes[turn_id], self._nodes[other_id]
        left: Node | None = None
        while node is not other:
            if node.depth >= other.depth and node.parent is not None:
                left, node = node, node.parent
            elif other.parent is not None:
                other = other.parent
        return None if left is None else left.turn_id

    def parent(self, turn_id: str) -> str | None:
        """Return the turn that a turn follows; None for the root, which follows nothing."""
        parent = self._nodes[turn_id].parent
        return None if parent is None else parent.turn_id

    def subtree(self, turn_id: str) -> list[str]:
        """Return a turn and all that follow from it, in the order in which they were added."""
        found, waiting = [], [self._nodes[turn_id]]
        while waiting:
            node = waiting.pop()
            found.append(node)
            waiting += node.children
        found.sort(key=lambda node: node.number)
        return [node.turn_id for node in found]

    def stimulus_ids(self, turn_id: str) -> list[str]:
        """Return the ids of a turn's own stimuli, in canonical order."""
        return [stimulus.key[1] for stimulus in self._nodes[turn_id].stimuli]

    def felt(self, turn_id: str, moment_ns: int) -> list[tuple[str, Stimulus]]:
        """Return what has been felt on a turn's path by a moment, with the turn of each, in canonical order."""
        end = (moment_ns + 1, "")
        found = [
            (node.turn_id, stimulus)
            for node in self._up(turn_id)
            for stimulus in node.stimuli[: bisect_left(node.stimuli, end, key=KEY)]
        ]
        found.sort(key=lambda one: one[1].key)
        return found

    def elapsed_s(self, start_ns: int, end_ns: int) -> float:
        """Return how many seconds of the session's own time lie between two moments."""
        return self._folder.time.elapsed_s(start_ns, end_ns)

    def last_ns(self, turn_id: str) -> int | None:
        """Return the event time of the last stimulus on a turn's path; None if there is none."""
        last = self._fold_of(self._nodes[turn_id]).last
        return None if last == BEFORE_ALL else last[0]

    def state(self, turn_id: str, moment_ns: int) -> Vector:
        """Return z at a turn and a moment, shape (2n,).

        Raises:
            KeyError: the turn is not there.
        """
        node = self._nodes[turn_id]
        fold = self._fold_of(node)
        if fold.last[0] > moment_ns:
            end = (moment_ns + 1, "")
            # On an ordered path nothing that happened by then stands below the first turn that had not been felt whole.
            while node.ordered and node.parent is not None and node.parent.known.last >= end:
                node = node.jump if node.jump.known.last >= end else node.parent
            fold = self._folder.before(node, [], end)
        return self._folder.at(fold, moment_ns)

    def states(self, turn_id: str, moments_ns: Iterable[int]) -> Iterator[Vector]:
        """Yield z at a turn for many moments, which ascend: the bits of `state`, for the cost of one fold over the path."""
        stimuli = [stimulus for _, stimulus in self.felt(turn_id, AFTER_ALL[0])]
        fold, taken = self._folder.nothing, 0
        for moment_ns in moments_ns:
            while taken < len(stimuli) and stimuli[taken].key[0] <= moment_ns:
                fold = self._folder.step(fold, stimuli[taken])
                taken += 1
            yield self._folder.at(fold, moment_ns)

    def _up(self, turn_id: str) -> Iterator[Node]:
        node: Node | None = self._nodes[turn_id]
        while node is not None:
            yield node
            node = node.parent

    def _forget(self, waiting: list[Node]) -> None:
        while waiting:
            node = waiting.pop()
            node.fold = None
            node.known_below = False
            waiting += self._known_children(node)

    def _forget_below(self, node: Node) -> None:
        self._forget(self._known_children(node))

    def _known_children(self, node: Node) -> list[Node]:
        # What is kept of a child in marks rests on this turn's path too, whether its fold is known or not.
        for child in node.children:
            child.marks.clear()
        return [child for child in node.children if child.fold is not None or child.known_below]

    def _fold_of(self, node: Node) -> Fold:
        if node.fold is not None:
            return node.fold
        missing = [node]
        while (parent := missing[-1].parent) is not None and parent.fold is None:
            missing.append(parent)
        for ancestor in reversed(missing[1:]):
            if self._folder.goes_far_back(ancestor, _FAR):
                break
            ancestor.fold = self._folder.of(ancestor)
        if node.parent is None or node.parent.fold is not None:
            node.fold = self._folder.of(node)
        else:
            # Something far up the path happened late in time, so that each turn below would have to go back to it. Only this one does.
            node.ordered = False
            node.fold = self._folder.before(node.parent, node.stimuli, AFTER_ALL)
            for ancestor in missing[1:]:
                ancestor.known_below = True
        return node.fold
