"""A session's own clock: wall-clock time less the pauses. While a session is paused, nothing fades.

The mapping is monotone and continuous: what happens during a pause happens at the session time at which the pause began.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from limbic.runtime.clock import NS_PER_S


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
    """Maps moments to a session's own time.

    Args:
        pauses: in any order; where two overlap, the time they share counts once.
    """

    __slots__ = ("_pauses",)

    def __init__(self, pauses: Iterable[Pause] = ()) -> None:
        self._pauses = tuple(sorted(pauses, key=lambda pause: pause.from_ns))

    def elapsed_s(self, start_ns: int, end_ns: int) -> float:
        """Return how many seconds of the session's own time lie between two moments; negative if `end_ns` is the earlier."""
        return (self._at(end_ns) - self._at(start_ns)) / NS_PER_S

    def _at(self, moment_ns: int) -> int:
        paused = 0
        covered_until = -(2**63)
        for pause in self._pauses:
            begin = max(pause.from_ns, covered_until)
            if begin >= moment_ns:
                break
            end = moment_ns if pause.to_ns is None else min(pause.to_ns, moment_ns)
            if end > begin:
                paused += end - begin
                covered_until = end
        return moment_ns - paused
