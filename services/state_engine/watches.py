"""Who watches which session, and what they have not seen yet. Used on the event loop only."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager


class Watch:
    """One reader of one session. It remembers that something has happened, and not what: a slow one misses steps and never the end."""

    __slots__ = ("_news", "_turn_id")

    def __init__(self) -> None:
        self._news = asyncio.Event()
        self._turn_id = ""

    def tell(self, turn_id: str) -> None:
        """Say that something was recorded, at a turn; "" where it belongs to none."""
        self._turn_id = turn_id
        self._news.set()

    async def wait(self, interval_s: float) -> str:
        """Wait until something is recorded, or for this many seconds, and return the turn; "" where time alone has passed."""
        try:
            async with asyncio.timeout(interval_s):
                await self._news.wait()
        except TimeoutError:
            return ""
        self._news.clear()
        return self._turn_id


class Watches:
    """All of them, by session."""

    def __init__(self) -> None:
        self._by_session: dict[str, set[Watch]] = {}

    def __contains__(self, session_id: str) -> bool:
        return session_id in self._by_session

    @property
    def sessions(self) -> tuple[str, ...]:
        """The sessions that are watched."""
        return tuple(self._by_session)

    @contextmanager
    def of(self, session_id: str) -> Iterator[Watch]:
        """Watch a session for the length of a block."""
        watch = Watch()
        watches = self._by_session.setdefault(session_id, set())
        watches.add(watch)
        try:
            yield watch
        finally:
            watches.remove(watch)
            if not watches:
                del self._by_session[session_id]

    def tell(self, session_id: str, turn_id: str) -> None:
        """Tell those who watch a session that something was recorded, at a turn; "" where it belongs to none."""
        for watch in self._by_session.get(session_id, ()):
            watch.tell(turn_id)
