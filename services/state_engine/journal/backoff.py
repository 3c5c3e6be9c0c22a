"""How long to leave a server alone that did not answer."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Final

FIRST_S: Final = 0.1
LONGEST_S: Final = 2.0


class Backoff:
    """Exponential, with full jitter: many engines that lost the same server must not come back to it all at once.

    Args:
        monotonic: seconds since some moment.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._bound = FIRST_S
        self._until = 0.0

    @property
    def left_s(self) -> float:
        """How much longer to wait, in seconds; 0 if it is time for the next try."""
        return max(0.0, self._until - self._monotonic())

    def failed(self) -> None:
        """Take note of a try that failed; the wait before the next one may be twice as long as before this one."""
        self._until = self._monotonic() + random.uniform(0.0, self._bound)
        self._bound = min(2.0 * self._bound, LONGEST_S)

    def succeeded(self) -> None:
        """Take note of a try that succeeded."""
        self._bound, self._until = FIRST_S, 0.0
