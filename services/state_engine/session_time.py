"""A session's own clock: wall-clock time less the pauses. While a session is paused, nothing fades.

The mapping is monotone and continuous: what happens during a pause happens at the session time at which the pause began. It is made from
the set of pauses alone, so that one of which the engine learns late counts as if it had been announced on time.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from limbic.runtime.clock import NS_PER_S

_NEVER = 2**63


@dataclass(frozen=True, slots=True)
class Pause:
    """An announced absence, from one moment to another in nanoseconds since the epoch; open if it has no end yet."""

    from_ns: int
    to_ns: int | None = None

    def __post_init__(self) -> None:
        """Refuse a pause that ends before it begins."""
        if self.to_ns is not None and self.to_ns < self.from_ns:
            raise ValueError("a pause cannot end before it begins")


class SessionTime:
    """Maps moments to a session's own time. A question costs the logarithm of the number of pauses.

    Args:
        pauses: in any order; where two overlap, the time they share counts once.
    """

    __slots__ = ("_begins", "_ends", "_paused_before")

    def __init__(self, pauses: Iterable[Pause] = ()) -> None:
        self._begins: list[int] = []
        self._ends: list[int] = []
        # For each span, how long the spans before it are.
        self._paused_before: list[int] = []
        for pause in sorted(pauses, key=lambda one: one.from_ns):
            end = _NEVER if pause.to_ns is None else pause.to_ns
            if self._ends and pause.from_ns <= self._ends[-1]:
                self._ends[-1] = max(self._ends[-1], end)
                continue
            before = self._paused_before[-1] + self._ends[-1] - self._begins[-1] if self._ends else 0
            self._begins.append(pause.from_ns)
            self._ends.append(end)
            self._paused_before.append(before)

    def elapsed_s(self, start_ns: int, end_ns: int) -> float:
        """Return how many seconds of the session's own time lie between two moments; negative if `end_ns` is the earlier."""
        if not self._begins:
            return (end_ns - start_ns) / NS_PER_S
        return (self._at(end_ns) - self._at(start_ns)) / NS_PER_S

    def _at(self, moment_ns: int) -> int:
        span = bisect_right(self._begins, moment_ns) - 1
        if span < 0:
            return moment_ns
        paused = self._paused_before[span] + min(moment_ns, self._ends[span]) - self._begins[span]
        return moment_ns - paused


class Pauses:
    """The pauses of one session, as they become known: each begins and may end, and either may be learned of first.

    Args:
        begins: when those began that are known already, by their ids.
        ends: when they ended.
    """

    __slots__ = ("_begins", "_ends")

    def __init__(
        self, begins: Mapping[str, int] = MappingProxyType({}), ends: Mapping[str, int] = MappingProxyType({})
    ) -> None:
        self._begins = {**begins}
        self._ends = {**ends}

    @property
    def all(self) -> tuple[dict[str, int], dict[str, int]]:
        """When each began, and when each ended that has."""
        return {**self._begins}, {**self._ends}

    def begin(self, pause_id: str, from_ns: int) -> None:
        """Take in that a pause began."""
        self._begins[pause_id] = from_ns

    def end(self, pause_id: str, from_ns: int) -> None:
        """Take in that a pause is over."""
        self._ends[pause_id] = from_ns

    def began_ns(self, pause_id: str) -> int | None:
        """Return when a pause began; None if there is no such pause."""
        return self._begins.get(pause_id)

    def ended_ns(self, pause_id: str) -> int | None:
        """Return when a pause ended; None if it has not."""
        return self._ends.get(pause_id)

    @property
    def open(self) -> dict[str, int]:
        """The pauses that have no end, with when they began."""
        return {pause_id: began for pause_id, began in self._begins.items() if pause_id not in self._ends}

    def time(self) -> SessionTime:
        """Return the clock that they make."""
        return SessionTime(Pause(began, self._ends.get(pause_id)) for pause_id, began in self._begins.items())
