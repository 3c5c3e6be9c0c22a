"""How many sessions each key's owner holds, on disk, so that a restart does not give it as many again.

Counted where sessions are made. The engine may delete a session for its age without telling anybody: before an owner is refused, the
engine is asked for those that it has not used for the longest time, and those that are gone do not count any more. Each gateway counts
what was made through it.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from gateway.access.errors import TooManySessionsError
from gateway.access.visitor import owner_of
from limbic.runtime.clock import Clock
from limbic.runtime.logs import get_logger

_log = get_logger(__name__)
_T = TypeVar("_T")

_ASKED = 8
"""Sessions of which the engine is asked whether they are still there, before an owner is refused."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS sessions (
    owner TEXT NOT NULL, session_id TEXT NOT NULL, used_ns INTEGER NOT NULL, PRIMARY KEY (owner, session_id)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS sessions_used ON sessions (owner, used_ns);
"""


class Holdings:
    """The sessions of each owner. All file work is done by one thread.

    Args:
        path: the file; created with mode 0600.
        clock: says which sessions were used last.
        limit_of: how many sessions an owner may hold; None where it has no key any more.
        is_gone: asks the engine whether a session does not exist any more.
    """

    def __init__(
        self,
        path: Path,
        clock: Clock,
        limit_of: Callable[[str], int | None],
        is_gone: Callable[[str], Awaitable[bool]],
    ) -> None:
        self._path = path
        self._clock = clock
        self._limit_of = limit_of
        self._is_gone = is_gone
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="holdings")
        self._database: sqlite3.Connection | None = None

    async def open(self) -> None:
        """Open the file.

        Raises:
            OSError: it cannot be used.
        """
        try:
            self._database = await self._in_thread(self._connect)
        except sqlite3.Error as error:
            raise OSError(
                f"{self._path} cannot be used ({error}); without it, what keys hold is counted anew"
            ) from None

    async def close(self) -> None:
        """Close the file."""
        if self._database is not None:
            await self._in_thread(self._database.close)
        self._executor.shutdown()

    async def admit(self, session_id: str) -> None:
        """Count a session that is being made, if it belongs to a key's owner and is not counted yet.

        Raises:
            TooManySessionsError: its owner holds as many as it may.
        """
        owner = owner_of(session_id)
        limit = self._limit_of(owner) if owner else None
        if limit is None:
            return
        try:
            if await self._in_thread(lambda: self._take(owner, session_id, limit)):
                return
            for old in await self._in_thread(lambda: self._oldest(owner)):
                if await self._is_gone(old):
                    await self.drop(old)
            taken = await self._in_thread(lambda: self._take(owner, session_id, limit))
        except sqlite3.Error as error:
            # A limit that cannot be kept is no reason to refuse everybody: a disk that cannot be written refuses sessions by itself.
            _log.error("what keys hold cannot be counted", error=str(error))
            return
        if not taken:
            raise TooManySessionsError(limit)

    async def drop(self, session_id: str) -> None:
        """Count a session no more."""
        owner = owner_of(session_id)
        if not owner:
            return
        try:
            await self._in_thread(lambda: self._remove(owner, session_id))
        except sqlite3.Error as error:
            _log.error("what keys hold cannot be counted", error=str(error))

    def _connect(self) -> sqlite3.Connection:
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._path.touch(mode=0o600)
        database = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False)
        database.execute("PRAGMA journal_mode=WAL")
        database.execute("PRAGMA synchronous=NORMAL")
        database.executescript(_SCHEMA)
        return database

    def _take(self, owner: str, session_id: str, limit: int) -> bool:
        database, row = self._opened(), (owner, session_id)
        # One thread and one statement each: nothing comes in between.
        known = database.execute("SELECT 1 FROM sessions WHERE owner = ? AND session_id = ?", row).fetchone()
        held = database.execute("SELECT count(*) FROM sessions WHERE owner = ?", (owner,)).fetchone()[0]
        if known is None and held >= limit:
            return False
        database.execute("INSERT OR REPLACE INTO sessions VALUES (?, ?, ?)", (*row, self._clock.now_ns()))
        return True

    def _oldest(self, owner: str) -> list[str]:
        found = self._opened().execute(
            "SELECT session_id FROM sessions WHERE owner = ? ORDER BY used_ns LIMIT ?", (owner, _ASKED)
        )
        return [str(row[0]) for row in found]

    def _remove(self, owner: str, session_id: str) -> None:
        self._opened().execute("DELETE FROM sessions WHERE owner = ? AND session_id = ?", (owner, session_id))

    def _opened(self) -> sqlite3.Connection:
        if self._database is None:
            raise RuntimeError("the holdings are not open")
        return self._database

    async def _in_thread(self, work: Callable[[], _T]) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._executor, work)
