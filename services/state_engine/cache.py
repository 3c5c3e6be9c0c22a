"""The sessions that are in memory: the latest used ones, and those that have something on its way to the journal.

A session with writes in flight is never dropped. So no session is rebuilt from the journal while facts of it are being written, and a
rebuilt one misses nothing.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable

from services.state_engine.errors import SessionNotFoundError
from services.state_engine.metrics import CACHED_SESSIONS
from services.state_engine.session import Session

Load = Callable[[str], Awaitable[Session | None]]


class SessionCache:
    """Sessions by id, the least recently used dropped first. Used on the event loop only.

    Args:
        load: rebuilds a session, or returns None if there is none.
        capacity: how many to keep.
    """

    def __init__(self, load: Load, capacity: int) -> None:
        self._load_session = load
        self._capacity = capacity
        self._sessions: OrderedDict[str, Session] = OrderedDict()
        self._loading: dict[str, asyncio.Task[bool]] = {}

    async def get(self, session_id: str) -> Session:
        """Return a session, from memory or from the journal.

        Raises:
            SessionNotFoundError: there is none.
            JournalUnavailableError: the journal cannot be read.
        """
        while True:
            session = self._sessions.get(session_id)
            if session is not None:
                self._sessions.move_to_end(session_id)
                return session
            loading = self._loading.get(session_id)
            if loading is None:
                loading = asyncio.create_task(self._load(session_id))
                self._loading[session_id] = loading
            # Others may wait for it too, so it outlives a caller that goes away.
            if not await asyncio.shield(loading) and session_id not in self._sessions:
                raise SessionNotFoundError(session_id)

    def put(self, session: Session) -> None:
        """Keep a session."""
        self._sessions[session.fact.session_id] = session
        self._trim()

    def discard(self, session: Session) -> None:
        """Drop a session that has nothing in flight, so that it is rebuilt when it is next used."""
        if self._sessions.get(session.fact.session_id) is session:
            del self._sessions[session.fact.session_id]
            CACHED_SESSIONS.set(len(self._sessions))

    async def _load(self, session_id: str) -> bool:
        try:
            session = await self._load_session(session_id)
        finally:
            del self._loading[session_id]
        if session is None:
            return False
        self.put(session)
        return True

    def _trim(self) -> None:
        for _ in range(len(self._sessions) - self._capacity):
            session_id, session = self._sessions.popitem(last=False)
            if session.in_flight:
                self._sessions[session_id] = session
        CACHED_SESSIONS.set(len(self._sessions))
