"""A conversation as a tree of turns, each with the state that its own path to the root leads to.

**Canonical order.** A state is a fold over the stimuli of a path, always in the order of (event time, stimulus id), whatever order
they arrived in: advance to the next stimulus, add its impulse. Mathematically the order makes no difference (the law is a sum), but
in floating point it does, in the last bits. Since the live state is this very fold and not an increment upon what was there before,
it has the same bits as one that is rebuilt from the journal, for every order of arrival.

**Cost.** Each turn keeps the fold over its whole path. If the stimuli of a turn come after everything on its parent's path, which they do
in a conversation, its fold is its parent's plus its own; otherwise it starts from the nearest ancestor whose path lies entirely before.
So a turn costs what it holds, a late stimulus costs what stands after it, and a query costs one step.

**Causality.** A query at a moment takes in what had happened by then, and nothing else. A sibling's stimuli are on no path but its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from services.state_engine.dynamics import Dynamics, Vector
from services.state_engine.session_time import SessionTime

Key = tuple[int, str]
"""(event time in nanoseconds since the epoch, stimulus id): the canonical order."""

_BEFORE_ALL: Key = (-(2**63), "")
_AFTER_ALL: Key = (2**63, "")
_NO_TIME = SessionTime()


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


@dataclass(slots=True)
class _Node:
    turn_id: str
    parent: _Node | None
    fold: Fold
    children: list[_Node] = field(default_factory=list)
    stimuli: list[Stimulus] = field(default_factory=list)


class Timeline:
    """The tree of one session. The root stands before the first turn and has the id "".

    Args:
        dynamics: the law.
        time: the session's own clock.
    """

    __slots__ = ("_dynamics", "_nodes", "_nothing", "_root", "_time")

    def __init__(self, dynamics: Dynamics, time: SessionTime = _NO_TIME) -> None:
        self._dynamics = dynamics
        self._time = time
        self._nothing = Fold(dynamics.rest(), _BEFORE_ALL)
        self._root = _Node("", None, self._nothing)
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
        node = _Node(turn_id, parent, parent.fold)
        parent.children.append(node)
        self._nodes[turn_id] = node

    def add_stimulus(self, turn_id: str, stimulus: Stimulus) -> None:
        """Add a stimulus to a turn (or to the root), and with it to all that follow from that turn. The caller adds each id once.

        Raises:
            KeyError: the turn is not there.
        """
        node = self._nodes[turn_id]
        node.stimuli.append(stimulus)
        waiting = [node]
        while waiting:
            node = waiting.pop()
            node.fold = self._refold(node)
            waiting.extend(node.children)

    def path(self, turn_id: str) -> Iterator[str]:
        """Yield the ids of the turns from a turn back to the first; nothing for the root."""
        node: _Node | None = self._nodes[turn_id]
        while node is not None and node is not self._root:
            yield node.turn_id
            node = node.parent

    def stimulus_ids(self, turn_id: str) -> list[str]:
        """Return the ids of a turn's own stimuli, in canonical order."""
        return [stimulus_id for _, stimulus_id in sorted(stimulus.key for stimulus in self._nodes[turn_id].stimuli)]

    def last_ns(self, turn_id: str) -> int | None:
        """Return the event time of the last stimulus on a turn's path; None if there is none."""
        last = self._nodes[turn_id].fold.last
        return None if last == _BEFORE_ALL else last[0]

    def state(self, turn_id: str, moment_ns: int) -> Vector:
        """Return z at a turn and a moment, shape (2n,).

        Raises:
            KeyError: the turn is not there.
        """
        node = self._nodes[turn_id]
        fold = node.fold
        if fold.last[0] > moment_ns:
            end = (moment_ns + 1, "")
            fold = self._fold([], end, node, end)
        if fold.last == _BEFORE_ALL:
            return fold.state
        return self._dynamics.advance(fold.state, self._time.elapsed_s(fold.last[0], moment_ns))

    def _refold(self, node: _Node) -> Fold:
        stimuli = list(node.stimuli)
        if not stimuli and node.parent is not None:
            return node.parent.fold
        return self._fold(stimuli, min(stimulus.key for stimulus in stimuli), node.parent, _AFTER_ALL)

    def _fold(self, stimuli: list[Stimulus], earliest: Key, ancestor: _Node | None, end: Key) -> Fold:
        """Fold `stimuli`, whose earliest key is given, together with all before `end` on the path that ends with `ancestor`."""
        while ancestor is not None and ancestor.fold.last >= earliest:
            stimuli += (stimulus for stimulus in ancestor.stimuli if stimulus.key < end)
            earliest = min(earliest, min((stimulus.key for stimulus in ancestor.stimuli), default=earliest))
            ancestor = ancestor.parent
        return self._extend(self._nothing if ancestor is None else ancestor.fold, stimuli)

    def _extend(self, fold: Fold, stimuli: list[Stimulus]) -> Fold:
        state, last = fold.state, fold.last
        for stimulus in sorted(stimuli, key=lambda one: one.key):
            if last != _BEFORE_ALL:
                state = self._dynamics.advance(state, self._time.elapsed_s(last[0], stimulus.key[0]))
            state = state + stimulus.impulse
            last = stimulus.key
        return Fold(state, last)
