"""A conversation as a tree of turns, and the state that each turn's own path to the root leads to.

**Canonical order.** A state is a fold over the stimuli of a path, always in the order of (event time, stimulus id), whatever order
they arrived in: advance to the next stimulus, add its impulse. Mathematically the order makes no difference (the law is a sum), but
in floating point it does, in the last bits. Since each fold here is this very one and not an increment upon what was there before, it
has the same bits as one that is rebuilt from the journal, for every order of arrival; and what is taken back leaves no trace.

**Cost.** The folds of whole paths are kept at each milestone (see `turn_tree`) and at the turns that were used last. A fold is made from
the nearest one that is kept on the path and lies entirely before what is to be added. What a late stimulus makes wrong is forgotten at
once and folded again when somebody asks. So a turn costs what it holds, a late stimulus costs what stands after it, a question about
the present costs one step, and one about the past the steps between two milestones.

**Long folds.** Whoever must not be held up asks first whether the answer is near. If it is not, a `Refold` brings it near in a thread.

**Causality.** A query at a moment takes in what had happened by then, and nothing else. A sibling's stimuli are on no path but its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final, NamedTuple

from services.state_engine.dynamics import Dynamics, Matrix, Vector
from services.state_engine.folds import AFTER_ALL, BEFORE_ALL, Fold, Folder, Key, Stimulus
from services.state_engine.gathering import Gathered, Gathering, fold
from services.state_engine.known_folds import Folded, KnownFolds
from services.state_engine.looks import Look, Refold
from services.state_engine.session_time import SessionTime
from services.state_engine.stimuli import Stimuli
from services.state_engine.turn_tree import NOWHERE, ROOT, TurnTree

_NO_TIME: Final = SessionTime()

NEAR: Final = 128
"""Turns and stimuli that a fold goes over at once, about a millisecond; one that needs more is a `Refold`."""


class Felt(NamedTuple):
    """What was felt on a path, in canonical order: each one's turn, id, moment, and latent impulse; latents has the shape (k, n)."""

    turn_ids: Sequence[str]
    stimulus_ids: Sequence[str]
    moments_ns: Sequence[int]
    latents: Matrix


class Timeline:
    """The tree of one session. The root stands before the first turn and has the id "".

    Args:
        dynamics: the law.
        time: the session's own clock.
        tree: the turns that are there already.
        stimuli: what was felt at them.
    """

    __slots__ = ("_folder", "_gathering", "_looks", "known", "stimuli", "tree")

    def __init__(
        self,
        dynamics: Dynamics,
        time: SessionTime = _NO_TIME,
        tree: TurnTree | None = None,
        stimuli: Stimuli | None = None,
    ) -> None:
        self._folder = Folder(dynamics, time)
        self.tree = TurnTree() if tree is None else tree
        self.stimuli = Stimuli(dynamics) if stimuli is None else stimuli
        self.known = KnownFolds(self.tree)
        self._gathering = Gathering(self.tree, self.stimuli, self.known)
        self._looks: list[Look] = []
        if not len(self.stimuli):
            self.known.keep(ROOT, self._folder.nothing)

    def __contains__(self, turn_id: str) -> bool:
        return turn_id in self.tree.numbers

    def __len__(self) -> int:
        return len(self.tree) - 1

    def add_turn(self, turn_id: str, parent_id: str) -> int:
        """Add a turn after another, or after the root, and return its number.

        Raises:
            ValueError: the turn is there already.
            KeyError: the parent is not.
        """
        tree = self.tree
        if turn_id in tree.numbers:
            raise ValueError("a turn is added once")
        parent = tree.numbers[parent_id]
        known = self.known.of(parent)
        number = tree.add(turn_id, parent)
        if known is not None:
            self.known.keep(number, known)
        return number

    def add_stimulus(self, turn_id: str, stimulus: Stimulus) -> None:
        """Add a stimulus to a turn (or to the root), and with it to all that follow from that turn. The caller adds each id once.

        Raises:
            KeyError: the turn is not there.
        """
        turn = self.tree.numbers[turn_id]
        before = self.stimuli.add(turn, stimulus)
        for look in self._looks:
            look.touched.append(turn)
        known = self.known.of(turn)
        if known is None or stimulus.key <= known.last:
            self.known.forget(turn, before)
            return
        # What comes after all that is there, as in a conversation nearly everything does, is one step more of the same fold.
        further = self._folder.step(known, stimulus.key, stimulus.impulse)
        self.known.keep(turn, further)
        self.known.keep_mark(turn, before + 1, further)
        self.known.forget_below(turn)

    def remove_stimulus(self, turn_id: str, stimulus_id: str) -> None:
        """Take a stimulus back: every state is then, bit for bit, as if it had never been added.

        Raises:
            KeyError: the turn is not there, or has no such stimulus.
        """
        turn = self.tree.numbers[turn_id]
        self.known.forget(turn, self.stimuli.remove(turn, stimulus_id))
        for look in self._looks:
            look.touched.append(turn)

    def set_time(self, time: SessionTime, changed_ns: int) -> None:
        """Give the session another clock, which tells moments up to `changed_ns` as the one before did."""
        self._folder = self._folder.with_time(time)
        self.known.forget_after(changed_ns)
        for look in self._looks:
            look.void = True

    def path(self, turn_id: str) -> Iterator[str]:
        """Yield the ids of the turns from a turn back to the first; nothing for the root."""
        ids = self.tree.ids
        for number in self.tree.up(self.tree.numbers[turn_id]):
            if number != ROOT:
                yield ids[number]

    def left_behind(self, turn_id: str, other_id: str) -> str | None:
        """Return the first turn on the path to a turn that is not on the path to another; None if all are."""
        numbers = self.tree.numbers
        left = self.tree.left_behind(numbers[turn_id], numbers[other_id])
        return None if left is None else self.tree.ids[left]

    def parent(self, turn_id: str) -> str | None:
        """Return the turn that a turn follows; None for the root, which follows nothing."""
        parent = self.tree.parents[self.tree.numbers[turn_id]]
        return None if parent == NOWHERE else self.tree.ids[parent]

    def subtree(self, turn_id: str) -> list[str]:
        """Return a turn and all that follow from it, in the order in which they were added."""
        ids = self.tree.ids
        return [ids[number] for number in self.tree.subtree(self.tree.numbers[turn_id])]

    def stimulus_ids(self, turn_id: str) -> list[str]:
        """Return the ids of a turn's own stimuli, in canonical order."""
        ids = self.stimuli.ids
        return [ids[number] for number in self.stimuli.at(self.tree.numbers[turn_id])]

    def felt(self, turn_id: str, moment_ns: int) -> Felt:
        """Return what has been felt on a turn's path by a moment."""
        ids, stimuli, end = self.tree.ids, self.stimuli, (moment_ns + 1, "")
        found = [
            (stimuli.key(number), ids[turn], number)
            for turn in self.tree.up(self.tree.numbers[turn_id])
            for number in self._gathering.before(turn, end)
        ]
        found.sort()
        return Felt(
            [turn for _, turn, _ in found],
            [key[1] for key, _, _ in found],
            [key[0] for key, _, _ in found],
            stimuli.latents([number for _, _, number in found]),
        )

    def elapsed_s(self, start_ns: int, end_ns: int) -> float:
        """Return how many seconds of the session's own time lie between two moments."""
        return self._folder.time.elapsed_s(start_ns, end_ns)

    def last_ns(self, turn_id: str) -> int | None:
        """Return the event time of the last stimulus on a turn's path; None if there is none."""
        last = self._fold_of(self.tree.numbers[turn_id]).last
        return None if last == BEFORE_ALL else last[0]

    def state(self, turn_id: str, moment_ns: int) -> Vector:
        """Return z at a turn and a moment, shape (2n,).

        Raises:
            KeyError: the turn is not there.
        """
        turn = self.tree.numbers[turn_id]
        whole = self._fold_of(turn)
        if whole.last[0] <= moment_ns:
            return self._folder.at(whole, moment_ns)
        end = (moment_ns + 1, "")
        past = self.known.answer(turn, end) or self._folded(self._gathered(turn, end)).fold
        return self._folder.at(past, moment_ns)

    def states(self, turn_id: str, moments_ns: Iterable[int]) -> Iterator[Vector]:
        """Yield z at a turn for many moments, which ascend: the bits of `state`, for the cost of one fold over the path."""
        felt, folder = self.felt(turn_id, AFTER_ALL[0]), self._folder
        current, taken = folder.nothing, 0
        for moment_ns in moments_ns:
            while taken < len(felt.moments_ns) and felt.moments_ns[taken] <= moment_ns:
                key = felt.moments_ns[taken], felt.stimulus_ids[taken]
                current = folder.step(current, key, folder.impulse(felt.latents[taken]))
                taken += 1
            yield folder.at(current, moment_ns)

    def is_near(self, turn_id: str, moment_ns: int | None = None) -> bool:
        """Whether `state` and `last_ns` answer about a turn (and a moment in its past) at once."""
        turn = self.tree.numbers[turn_id]
        whole = self.known.of(turn)
        if whole is None:
            gathered = self._within(turn, AFTER_ALL, NEAR)
            if gathered is None:
                return False
            whole = self._keep(self._folded(gathered))
        if moment_ns is None or whole.last[0] <= moment_ns:
            return True
        end = (moment_ns + 1, "")
        return self.known.answer(turn, end) is not None or self._within(turn, end, NEAR) is not None

    def refold(self, turn_id: str, moment_ns: int | None = None) -> Refold:
        """Begin what is not near: a long fold. It is to be run, where it holds nobody up, and given to `take`, whatever becomes of it."""
        turn = self.tree.numbers[turn_id]
        end = AFTER_ALL if moment_ns is None or self.known.of(turn) is None else (moment_ns + 1, "")
        # Run in another thread, it reads what only grows, and what may change meanwhile one piece at a time.
        refold = Refold(lambda: self._folded(self._gathered(turn, end)))
        self._looks.append(refold)
        return refold

    def take(self, refold: Refold) -> None:
        """Keep what a long fold has found, as far as what was learned meanwhile has not made it wrong."""
        self._looks.remove(refold)
        if refold.found is not None and not refold.void:
            self.known.keep_all(refold.found)
            for turn in refold.touched:
                self.known.forget(turn)

    def look(self) -> Look:
        """Begin to look at this from another thread; see `is_same`."""
        look = Look()
        self._looks.append(look)
        return look

    def is_same(self, look: Look, turn_id: str) -> bool:
        """End a look, and say whether nothing on a turn's path has changed since it began."""
        self._looks.remove(look)
        turn = self.tree.numbers[turn_id]
        return not look.void and not any(self.tree.is_below(turn, other) for other in look.touched)

    def _fold_of(self, turn: int) -> Fold:
        return self.known.of(turn) or self._keep(self._folded(self._gathered(turn, AFTER_ALL)))

    def _keep(self, found: Folded) -> Fold:
        self.known.keep_all(found)
        return found.fold

    def _folded(self, gathered: Gathered) -> Folded:
        return fold(gathered, self._folder, self.stimuli, self.tree)

    def _gathered(self, turn: int, end: Key) -> Gathered:
        return self._gathering.of(turn, end, self._folder.nothing)

    def _within(self, turn: int, end: Key, most: int) -> Gathered | None:
        return self._gathering.within(turn, end, self._folder.nothing, most)
