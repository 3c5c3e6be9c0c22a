"""The embedded journal: one SQLite file, one writer with group commit, and readers that never wait for it."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, TypeVar

from limbic.runtime.clock import Clock
from limbic.runtime.logs import get_logger
from services.state_engine.journal import sqlite_file, sqlite_queries
from services.state_engine.journal.facts import (
    Fact,
    NumberedTurn,
    Origin,
    SessionFact,
    SessionLog,
    Snapshot,
    StimulusFact,
    Stored,
    TurnFact,
)
from services.state_engine.journal.migrate import migrate
from services.state_engine.journal.port import JournalOpenError, Others, Settled
from services.state_engine.journal.rows import stimulus_of, turn_of
from services.state_engine.journal.sqlite_writer import SqliteWriter
from services.state_engine.journal.writer import GroupCommit

_log = get_logger(__name__)
_Result = TypeVar("_Result")

_READERS: Final = 2
"""So that a long session that is being rebuilt does not hold up a short read."""


class SqliteJournal:
    """See `Journal`.

    Args:
        path: the file; made if it is not there.
        clock: for the moments of migrations.
        capacity: appends that may wait for the writer.
        connect: opens a connection.
    """

    def __init__(
        self, path: Path, clock: Clock, *, capacity: int, connect: sqlite_file.Connect = sqlite_file.connect
    ) -> None:
        self._path = path
        self._clock = clock
        self._connect = connect
        self._commits = GroupCommit(self._open_writer, capacity)
        self._readers = ThreadPoolExecutor(_READERS, thread_name_prefix="journal-reader")
        self._reader = threading.local()
        self._connections: list[sqlite3.Connection] = []

    async def start(self) -> None:
        """Open it, and bring its schema up to date."""
        await self._commits.start()

    async def stop(self) -> None:
        """Write what waits, and close it."""
        await asyncio.to_thread(self._readers.shutdown)
        for connection in self._connections:
            connection.close()
        self._connections.clear()
        # Last, because the last connection that closes folds the WAL into the file.
        await self._commits.stop()

    @property
    def others(self) -> Others | None:
        """None: no other engine can write, since the file is locked."""
        return None

    def append(
        self, session_id: str, facts: Sequence[Fact], settled: Settled, key: int | None = None
    ) -> asyncio.Future[int]:
        """Record facts of one session, all or none of them."""
        return self._commits.append(session_id, facts, settled, key)

    def delete(self, session_id: str, settled: Settled, untouched_since_ns: int | None = None) -> asyncio.Future[int]:
        """Delete all facts of a session, also from the WAL and from free pages."""
        return self._commits.delete(session_id, settled, untouched_since_ns)

    def copy(self, opening: SessionFact, origin: Origin, settled: Settled) -> asyncio.Future[int]:
        """Record a new session with what it takes along from another one."""
        return self._commits.copy(opening, origin, settled)

    def keep(self, session_id: str, snapshot: Snapshot, key: int | None = None) -> asyncio.Future[int]:
        """Keep a snapshot in the place of the one that is there."""
        return self._commits.keep(session_id, snapshot, key)

    async def rebuild(self, session_id: str, build: Callable[[Stored], _Result]) -> _Result | None:
        """Have something built from a session in a reader's thread, and return it; None if there is no such session."""
        return await self._read(sqlite_queries.rebuild, session_id, build)

    async def load(self, session_id: str) -> SessionLog | None:
        """Return all facts of a session, or None if there is no such session."""
        return await self._read(sqlite_queries.load, session_id)

    async def untouched_since(self, moment_ns: int, limit: int) -> list[str]:
        """Return sessions of which nothing was recorded at a moment or later, at most `limit`."""
        return await self._read(sqlite_queries.untouched_since, moment_ns, limit)

    async def turns(self, session_id: str, turn_ids: Collection[str]) -> list[TurnFact]:
        """Return those of the turns that exist, in the order of `turn_ids`."""
        rows = await self._read(sqlite_queries.by_ids, session_id, sqlite_queries.TURNS, list(turn_ids))
        return [turn_of(row) for row in rows]

    async def turns_before(self, session_id: str, sequence: int | None, limit: int) -> list[NumberedTurn]:
        """Return the latest turns recorded before a number (None: all), oldest first, at most `limit`."""
        rows = await self._read(sqlite_queries.turns_before, session_id, sequence, limit)
        return [NumberedTurn(number, turn_of(tuple(row))) for number, *row in reversed(rows)]

    async def stimuli(self, session_id: str, stimulus_ids: Collection[str]) -> list[StimulusFact]:
        """Return those of the stimuli that exist, in the order of `stimulus_ids`."""
        rows = await self._read(sqlite_queries.by_ids, session_id, sqlite_queries.STIMULI, list(stimulus_ids))
        return [stimulus_of(row) for row in rows]

    def _open_writer(self) -> SqliteWriter:
        if sqlite3.sqlite_version_info < sqlite_file.OLDEST_SQLITE:
            raise JournalOpenError(f"SQLite {sqlite3.sqlite_version} is too old; 3.37 or later is needed")
        try:
            sqlite_file.prepare(self._path)
            lock = sqlite_file.FileLock(self._path)
        except OSError as error:
            raise JournalOpenError(f"the journal {self._path} cannot be opened: {error.strerror}") from error
        try:
            connection = self._connect(self._path)
            version = migrate(connection, self._clock.now_ns())
            writer = SqliteWriter(connection, lock.release)
        except (sqlite3.Error, JournalOpenError) as error:
            lock.release()
            if isinstance(error, JournalOpenError):
                raise
            raise JournalOpenError(f"the journal {self._path} cannot be opened: {error}") from error
        _log.info("journal open", path=str(self._path), schema_version=version)
        return writer

    async def _read(self, query: Callable[..., _Result], *arguments: object) -> _Result:
        def run() -> _Result:
            connection: sqlite3.Connection | None = getattr(self._reader, "connection", None)
            if connection is None:
                connection = self._connect(self._path)
                connection.execute("PRAGMA query_only = ON")
                self._reader.connection = connection
                self._connections.append(connection)
            return query(connection, *arguments)

        try:
            return await asyncio.get_running_loop().run_in_executor(self._readers, run)
        except sqlite3.Error as error:
            _log.error("journal not read", error=sqlite_file.error_name(error))
            raise sqlite_file.failure(error, "read") from error
