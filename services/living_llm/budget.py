"""A retry budget: retries are paid for by successes, so that an outage does not multiply the load that caused it.

A limit on tries alone does not do that: with four tries each, a dead upstream sees four times the requests of a healthy one.
After tower's TpsBudget (tower-rs/tower, tower/src/retry/budget).
"""

from __future__ import annotations

from collections import deque

from limbic.runtime.clock import Clock

# How long a deposit can be spent. Long enough for a few replies, short enough to forget a good hour when things turn bad.
WINDOW_S = 60.0


class RetryBudget:
    """How many retries may be made now. For one event loop.

    Args:
        ratio: retries that each success earns.
        floor: retries in any window that need no success.
        clock: tells the time.
    """

    def __init__(self, *, ratio: float, floor: float, clock: Clock) -> None:
        self._ratio = ratio
        self._floor = floor
        self._clock = clock
        self._entries: deque[tuple[float, float]] = deque()
        self._sum = 0.0

    def deposit(self) -> None:
        """Report a success."""
        self._enter(self._ratio)

    def withdraw(self) -> bool:
        """Take a retry out of the budget, and say whether there was one."""
        self._forget()
        if self._floor + self._sum < 1.0:
            return False
        self._enter(-1.0)
        return True

    def _enter(self, amount: float) -> None:
        self._forget()
        self._entries.append((self._clock.monotonic(), amount))
        self._sum += amount

    def _forget(self) -> None:
        oldest = self._clock.monotonic() - WINDOW_S
        while self._entries and self._entries[0][0] <= oldest:
            self._sum -= self._entries.popleft()[1]
        if not self._entries:
            # So that rounding does not add up over weeks.
            self._sum = 0.0
