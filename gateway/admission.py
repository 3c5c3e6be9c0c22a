"""Lets in as many turns as may run, and refuses the next one at once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from gateway.errors import TooManyTurnsError

_RETRY_AFTER_S = 1.0
"""A turn lasts seconds: a client that asks again sooner is refused again."""


class Admission:
    """Sheds load instead of queueing it: a person who waits in a queue does not know whether anything happens.

    Args:
        max_turns: how many may run at once.
    """

    def __init__(self, max_turns: int) -> None:
        self._max_turns = max_turns
        self._running = 0

    @property
    def running(self) -> int:
        """How many turns are running."""
        return self._running

    @property
    def is_full(self) -> bool:
        """Whether the next turn would be refused."""
        return self._running >= self._max_turns

    @contextmanager
    def permit(self) -> Iterator[None]:
        """Hold a place for the length of a block.

        Raises:
            TooManyTurnsError: there is none.
        """
        if self.is_full:
            raise TooManyTurnsError(
                f"{self._max_turns} turns are running, which is as many as may; try again in a moment",
                retry_after=_RETRY_AFTER_S,
                maxTurns=str(self._max_turns),
            )
        self._running += 1
        try:
            yield
        finally:
            self._running -= 1
