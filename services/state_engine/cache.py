"""The sessions that are in memory: the latest used ones, those that are watched, and those that have something on its way to the journal.

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
CatchUp = Callable[[Session], Awaitable[bool]]


class SessionCache:
    """Sessions by id, the least recently used dropped first. Used on the event loop only.

    Args:
        load: rebuilds a session, or returns None if there is none.
        capacity: how many to keep.
        catch_up: has a session take in what other engines recorded, and says whether it is still there; None if there are none.
        watched: whether a session is watched, by its id; then it is kept, so that each look at it does not cost a reading of the journal.
    """

    def __init__(
        self, load: Load, capacity: int, watched: Callable[[str], bool], catch_up: CatchUp | None = None
    ) -> None:
        self._load_session = load
        self._catch_up = catch_up
        self._watched = watched
        self._capacity = capacity
        self._sessions: OrderedDict[str, Session] = OrderedDict()
        self._loading: dict[str, asyncio.Task[bool]] = {}
        self._forgotten: set[str] = set()

    async def get(self, session_id: str) -> Session:
        """Return a session, from memory or from the journal.

        Raises:
            SessionNotFoundError: there is none.
            JournalUnavailableError: the journal cannot be read.
        """
        while True:
            session = self._sessions.get(session_id)
            if session is not None:
                if self._catch_up is not None and not await self.caught_up(session):
                    self.discard(session)
                    continue
                if self.holds(session):
                    self._sessions.move_to_end(session_id)
                    return session
                continue
            loading = self._loading.get(session_id)
            if loading is None:
                loading = asyncio.create_task(self._load(session_id))
                self._loading[session_id] = loading
            # Others may wait for it too, so it outlives a caller that goes away.
            if not await asyncio.shield(loading) and session_id not in self._sessions:
                raise SessionNotFoundError(session_id)

    def holds(self, session: Session) -> bool:
        """Whether a session is the one that is in memory."""
        return self._sessions.get(session.fact.session_id) is session

    async def caught_up(self, session: Session) -> bool:
        """Have a session take in what other engines recorded; False if it is not in the journal any more.

        Raises:
            JournalUnavailableError: the journal cannot be read.
        """
        return self._catch_up is None or await self._catch_up(session)

    def forget(self, session_id: str) -> None:
        """Drop a session that has been deleted, also one that is just being read."""
        self._sessions.pop(session_id, None)
        if session_id in self._loading:
            self._forgotten.add(session_id)
        CACHED_SESSIONS.set(len(self._sessions))

    def put(self, session: Session) -> None:
        """Keep a session, unless it is there already: facts may be on their way that only the one that is there will take in."""
        self._sessions.setdefault(session.fact.session_id, session)
        self._trim()

    def discard(self, session: Session) -> None:
        """Drop a session that has nothing in flight, so that it is rebuilt when it is next used."""
        if self.holds(session):
            del self._sessions[session.fact.session_id]
            CACHED_SESSIONS.set(len(self._sessions))

    async def _load(self, session_id: str) -> bool:
        try:
            session = await self._load_session(session_id)
            while session_id in self._forgotten:
                # What has been read may be what was deleted meanwhile.
                self._forgotten.remove(session_id)
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
            if session.in_flight or self._watched(session_id):
                self._sessions[session_id] = session
        CACHED_SESSIONS.set(len(self._sessions))
