"""Folds: what a state is made from. Here are the parts; what a session's tree does with them, and why, stands in `timeline`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from services.state_engine.dynamics import Dynamics, Vector
from services.state_engine.session_time import SessionTime

Key = tuple[int, str]
"""(event time in nanoseconds since the epoch, stimulus id): the canonical order."""

BEFORE_ALL: Final[Key] = (-(2**63), "")
AFTER_ALL: Final[Key] = (2**63, "")


@dataclass(frozen=True, slots=True)
class Stimulus:
    """One thing that was felt: its place in the canonical order and what it adds to z, shape (2n,)."""

    key: Key
    impulse: Vector


@dataclass(frozen=True, slots=True)
class Fold:
    """The state z right after the last of some stimuli, shape (2n,), and that one's key.

    `ordered` is about the fold of a turn's whole path: whether each turn's stimuli come after everything that stands before that turn.
    """

    state: Vector
    last: Key
    ordered: bool = True


class Folder:
    """Folds under one law and one clock.

    Args:
        dynamics: the law.
        time: the session's own clock.
    """

    __slots__ = ("_dynamics", "impulse", "nothing", "time")

    def __init__(self, dynamics: Dynamics, time: SessionTime) -> None:
        self._dynamics = dynamics
        self.impulse = dynamics.impulse
        self.time = time
        self.nothing = Fold(dynamics.rest(), BEFORE_ALL)

    def with_time(self, time: SessionTime) -> Folder:
        """Return one under another clock."""
        return Folder(self._dynamics, time)

    def step(self, fold: Fold, key: Key, impulse: Vector) -> Fold:
        """Return a fold with one stimulus more, which comes after all that it holds."""
        return Fold(self.at(fold, key[0]) + impulse, key, fold.ordered)

    def at(self, fold: Fold, moment_ns: int) -> Vector:
        """Return z at a moment after the last stimulus of a fold, shape (2n,)."""
        if fold.last == BEFORE_ALL:
            return fold.state
        return self._dynamics.advance(fold.state, self.time.elapsed_s(fold.last[0], moment_ns))
