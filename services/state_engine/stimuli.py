"""What was felt in a session as columns: numbers in the order of arrival, and for each its turn, its moment and its latent impulse.

What is taken back keeps its number and is felt no more.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, insort
from collections.abc import Iterable, Sequence

import numpy as np

from services.state_engine.dynamics import Dynamics, Matrix, Vector
from services.state_engine.folds import Key, Stimulus

_FIRST_ROWS = 16


class Stimuli:
    """The stimuli of one session.

    Args:
        dynamics: the law, of n channels.

    Attributes:
        ids: each stimulus's id.
        numbers: each stimulus's number, by its id.
        turns: the number of the turn at which each was felt.
        moments: when each happened, in nanoseconds since the epoch.
        gone: the numbers of those that were taken back.
    """

    __slots__ = ("_dynamics", "_indexed", "_latents", "_of_turn", "gone", "ids", "moments", "numbers", "turns")

    def __init__(self, dynamics: Dynamics) -> None:
        self._dynamics = dynamics
        self.ids: list[str] = []
        self.numbers: dict[str, int] = {}
        self.turns = array("i")
        self.moments = array("q")
        self.gone: set[int] = set()
        self._latents: Matrix = np.empty((_FIRST_ROWS, dynamics.size))
        # Those of turns that were touched since the session is in memory; the others' are found by the index.
        self._of_turn: dict[int, list[int]] = {}
        self._indexed: _Index | None = None

    @classmethod
    def of(
        cls,
        dynamics: Dynamics,
        ids: list[str],
        turns: array[int],
        moments: array[int],
        latents: Matrix,
        gone: Iterable[int],
    ) -> Stimuli:
        """Return the stimuli that columns make up which others had; latents has the shape (count, n)."""
        stimuli = cls(dynamics)
        stimuli.ids, stimuli.turns, stimuli.moments, stimuli.gone = ids, turns, moments, set(gone)
        stimuli.numbers = dict(zip(ids, range(len(ids)), strict=True))
        # With room for more: to make it is a matter for the thread that loads, and not for whoever adds the first.
        stimuli._latents = np.empty((len(ids) + max(_FIRST_ROWS, len(ids) // 8), dynamics.size))
        stimuli._latents[: len(ids)] = latents
        stimuli._indexed = _Index(turns, stimuli.gone) if ids else None
        return stimuli

    def __len__(self) -> int:
        return len(self.ids)

    def key(self, number: int) -> Key:
        """Return a stimulus's place in the canonical order."""
        return self.moments[number], self.ids[number]

    def latents(self, numbers: Sequence[int] | slice) -> Matrix:
        """Return the latent impulses of some, shape (how many, n)."""
        found: Matrix = self._latents[numbers]
        return found

    def impulses(self, numbers: Sequence[int]) -> Matrix:
        """Return what some add to z, shape (how many, 2n)."""
        latents = self.latents(numbers)
        return np.concatenate((latents, np.abs(latents)), axis=1)

    def impulse(self, number: int) -> Vector:
        """Return what one adds to z, shape (2n,)."""
        return self._dynamics.impulse(self._latents[number])

    def at(self, turn: int) -> Sequence[int]:
        """Return the numbers of a turn's own, in canonical order."""
        found = self._of_turn.get(turn)
        if found is None:
            found = [] if self._indexed is None else self._indexed.at(turn, self)
        return found

    def add(self, turn: int, stimulus: Stimulus) -> int:
        """Add one, and return how many of its turn stand before it."""
        number, size = len(self.ids), self._dynamics.size
        if number == len(self._latents):
            # Others may still read the rows of the smaller one, which do not change.
            larger = np.empty((2 * number, size))
            larger[:number] = self._latents
            self._latents = larger
        self._latents[number] = stimulus.impulse[:size]
        moment_ns, stimulus_id = stimulus.key
        self.turns.append(turn)
        self.moments.append(moment_ns)
        self.ids.append(stimulus_id)
        self.numbers[stimulus_id] = number
        own = self._touched(turn)
        if not own or self.key(own[-1]) < stimulus.key:
            own.append(number)
            return len(own) - 1
        insort(own, number, key=self.key)
        return bisect_left(own, stimulus.key, key=self.key)

    def remove(self, turn: int, stimulus_id: str) -> int:
        """Take one back, and return how many of its turn stand before it.

        Raises:
            KeyError: the turn has none of this id.
        """
        number = self.numbers[stimulus_id]
        own = self._touched(turn)
        if number not in own:
            raise KeyError(stimulus_id)
        index = own.index(number)
        del own[index]
        self.gone.add(number)
        return index

    def _touched(self, turn: int) -> list[int]:
        own = self._of_turn.get(turn)
        if own is None:
            own = self._of_turn[turn] = [*self.at(turn)]
        return own


class _Index:
    """Finds the stimuli of a turn among those that a snapshot has brought. Made when somebody first asks.

    Args:
        turns: the turn of each; only those that are there now count.
        gone: the numbers of those that do not count.
    """

    __slots__ = ("_gone", "_order", "_starts", "_turns")

    def __init__(self, turns: array[int], gone: Iterable[int]) -> None:
        self._turns = np.array(turns)
        self._gone = [*gone]
        self._order: Sequence[int] | None = None
        self._starts: Sequence[int] = ()

    def at(self, turn: int, stimuli: Stimuli) -> list[int]:
        """Return the numbers of a turn's own, in canonical order."""
        order = self._order
        if order is None:
            order = self._build()
        if turn + 1 >= len(self._starts):
            return []
        return sorted(order[self._starts[turn] : self._starts[turn + 1]], key=stimuli.key)

    def _build(self) -> Sequence[int]:
        turns = self._turns
        there = np.ones(len(turns), dtype=bool)
        there[self._gone] = False
        order = np.flatnonzero(there)
        order = order[np.argsort(turns[order], kind="stable")]
        starts = np.searchsorted(turns[order], np.arange(int(turns.max()) + 2))
        self._starts = array("i", starts.astype(np.intc).tobytes())
        # Last, since whoever sees it uses the other too: it may be another thread.
        self._order = array("i", order.astype(np.intc).tobytes())
        return self._order
