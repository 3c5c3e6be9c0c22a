"""A token bucket: so many a minute, and a minute's worth at once. Pure."""

from __future__ import annotations

_MINUTE_S = 60.0


class Bucket:
    """Counts what is used against what has come in since.

    Args:
        per_minute: tokens that come in within a minute, evenly, and that it holds at most.
        now_s: this moment, on a monotonic clock in seconds. It begins full.
    """

    def __init__(self, per_minute: int, now_s: float) -> None:
        self._capacity = float(per_minute)
        self._per_s = per_minute / _MINUTE_S
        self._tokens = self._capacity
        self._seen_s = now_s

    def take(self, now_s: float) -> float:
        """Take a token and return 0, or take none and return in how many seconds there will be one."""
        self._tokens = min(self._capacity, self._tokens + max(0.0, now_s - self._seen_s) * self._per_s)
        self._seen_s = max(self._seen_s, now_s)
        if self._tokens >= 1.0:
            self._tokens -= 1.0
            return 0.0
        return (1.0 - self._tokens) / self._per_s
