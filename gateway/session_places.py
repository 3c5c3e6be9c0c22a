"""Lets the turns of one session run one after the other, and makes none wait for long."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Protocol

from gateway.errors import SessionBusyError

_RETRY_AFTER_S = 1.0


class Waiting(Protocol):
    """The clock that is waited on."""

    def monotonic(self) -> float:
        """Return the moment on the monotonic clock."""
        ...

    async def wait(self, future: asyncio.Future[Any], until: float) -> bool:
        """Wait until the future is done, but no longer than until this moment. Returns whether it is done."""
        ...


class SessionPlaces:
    """One place for each session. Who finds it taken waits in a short queue, or is refused.

    A conversation has one tip and one history: two turns that are said at once would each be answered without the other.

    Args:
        timer: waits.
        queue: turns of one session that may wait; 0 refuses every second turn at once.
        wait_s: for how long one may wait at most.
    """

    def __init__(self, timer: Waiting, *, queue: int, wait_s: float) -> None:
        self._timer = timer
        self._queue = queue
        self._wait_s = wait_s
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}

    def __len__(self) -> int:
        """How many sessions have a turn that runs."""
        return len(self._waiting)

    @asynccontextmanager
    async def place(self, session_id: str, deadline_at: float) -> AsyncIterator[None]:
        """Hold the session's place for the length of a block.

        Args:
            session_id: the session.
            deadline_at: moment of the monotonic clock after which there is no sense in waiting.

        Raises:
            SessionBusyError: it did not become free in time, or too many wait for it.
        """
        await self._take(session_id, deadline_at)
        try:
            yield
        finally:
            self._pass_on(session_id)

    async def _take(self, session_id: str, deadline_at: float) -> None:
        waiting = self._waiting.get(session_id)
        if waiting is None:
            self._waiting[session_id] = deque()
            return
        if len(waiting) >= self._queue:
            raise _busy(f"{len(waiting)} more wait for it" if waiting else "a second one may not wait for it")
        granted = asyncio.get_running_loop().create_future()
        waiting.append(granted)
        try:
            in_time = await self._timer.wait(granted, min(self._timer.monotonic() + self._wait_s, deadline_at))
        except asyncio.CancelledError:
            self._leave(session_id, waiting, granted)
            raise
        if not in_time:
            self._leave(session_id, waiting, granted)
            raise _busy("it did not end in time")

    def _leave(self, session_id: str, waiting: deque[asyncio.Future[None]], granted: asyncio.Future[None]) -> None:
        if granted.done():
            # The place came in the same moment in which nobody wanted it any more.
            self._pass_on(session_id)
        else:
            waiting.remove(granted)

    def _pass_on(self, session_id: str) -> None:
        waiting = self._waiting[session_id]
        if waiting:
            waiting.popleft().set_result(None)
        else:
            del self._waiting[session_id]


def _busy(why: str) -> SessionBusyError:
    return SessionBusyError(
        f"another turn of this session is running, and {why}; try again in a moment", retry_after=_RETRY_AFTER_S
    )
