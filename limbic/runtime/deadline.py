"""Deadlines as budgets.

grpc.aio does not hand a caller's deadline on to the calls that a handler makes, and computes the time that is left from the wall
clock. So the deadline is turned once, at the door, into a moment on the monotonic clock, and carried in a context variable.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Deadline:
    """A moment on the monotonic clock, in seconds, by which something must be done."""

    at: float

    @classmethod
    def after(cls, seconds: float) -> Deadline:
        """Return the deadline that lies this many seconds ahead."""
        return cls(time.monotonic() + seconds)

    def remaining(self) -> float:
        """Seconds that are left; 0 when it has passed."""
        return max(0.0, self.at - time.monotonic())

    def budget(self, cap: float, *, reserve: float = 0.0) -> float:
        """Seconds that a part may take: what is left less a reserve for answering, and never more than `cap`."""
        return max(0.0, min(cap, self.remaining() - reserve))


_current: ContextVar[Deadline | None] = ContextVar("limbic_deadline", default=None)


def current_deadline() -> Deadline | None:
    """Return the deadline of the call that is being handled, or None outside of one."""
    return _current.get()


@contextmanager
def deadline_scope(deadline: Deadline) -> Iterator[Deadline]:
    """Make `deadline` the current one for the length of a block."""
    token = _current.set(deadline)
    try:
        yield deadline
    finally:
        # The stream of a caller who went away may be closed by another task, in whose context this deadline was never set.
        with suppress(ValueError):
            _current.reset(token)
