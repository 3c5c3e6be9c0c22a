"""The embedded journal: one SQLite file, one writer with group commit, and readers that never wait for it."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from heapq import merge
from pathlib import Path
from typing import Any, Final, TypeVar

from limbic.runtime.clock import Clock
from limbic.runtime.logs import get_logger
from services.state_engine.errors import JournalUnavailableError
from services.state_engine.journal import sqlite_file
from services.state_engine.journal.facts import Fact, NumberedTurn, SessionFact, SessionLog, StimulusFact, TurnFact
from services.state_engine.journal.migrate import migrate
from services.state_engine.journal.port import JournalOpenError, Settled
from services.state_engine.journal.rows import STIMULUS_COLUMNS, TURN_COLUMNS, stimulus_of, turn_of
from services.state_engine.journal.sqlite_writer import SqliteWriter
from services.state_engine.journal.writer import GroupCommit

_log = get_logger(__name__)
_Result = TypeVar("_Result")

_READERS: Final = 2
"""So that a long session that is being rebuilt does not hold up a short read."""

_IDS_PER_STATEMENT: Final = 500

_TURNS = f"SELECT {', '.join(TURN_COLUMNS)} FROM turns WHERE session_key = ? AND turn_id IN "
_TURNS_BEFORE = (
    f"SELECT sequence, {', '.join(TURN_COLUMNS)} FROM turns WHERE session_key = ? AND sequence < ? "
    "ORDER BY sequence DESC LIMIT ?"
)
_ALL_TURNS = f"SELECT sequence, {', '.join(TURN_COLUMNS)} FROM turns WHERE session_key = ? ORDER BY sequence"
_STIMULI = f"SELECT {', '.join(STIMULUS_COLUMNS)} FROM stimuli WHERE session_key = ? AND stimulus_id IN "
_ALL_STIMULI = f"SELECT sequence, {', '.join(STIMULUS_COLUMNS)} FROM stimuli WHERE session_key = ? ORDER BY sequence"
_SESSION = (
    "SELECT session_key, session_id, temperament, temperament_digest, text, keep_text, created_ns "
    "FROM sessions JOIN temperaments ON digest = temperament_digest WHERE session_id = ?"
)


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

    def append(self, session_id: str, facts: Sequence[Fact], settled: Settled) -> asyncio.Future[int]:
        """Record facts of one session, all or none of them."""
        return self._commits.submit(session_id, facts, settled)

    async def load(self, session_id: str) -> SessionLog | None:
        """Return all facts of a session, or None if there is no such session."""
        return await self._read(_load, session_id)

    async def turns(self, session_id: str, turn_ids: Collection[str]) -> list[TurnFact]:
        """Return those of the turns that exist, in the order of `turn_ids`."""
        rows = await self._read(_by_ids, session_id, _TURNS, list(turn_ids))
        return [turn_of(row) for row in rows]

    async def turns_before(self, session_id: str, sequence: int | None, limit: int) -> list[NumberedTurn]:
        """Return the latest turns recorded before a number (None: all), oldest first, at most `limit`."""
        rows = await self._read(_turns_before, session_id, sequence, limit)
        return [NumberedTurn(number, turn_of(tuple(row))) for number, *row in reversed(rows)]

    async def stimuli(self, session_id: str, stimulus_ids: Collection[str]) -> list[StimulusFact]:
        """Return those of the stimuli that exist, in the order of `stimulus_ids`."""
        rows = await self._read(_by_ids, session_id, _STIMULI, list(stimulus_ids))
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
        except (sqlite3.Error, JournalOpenError) as error:
            lock.release()
            if isinstance(error, JournalOpenError):
                raise
            raise JournalOpenError(f"the journal {self._path} cannot be opened: {error}") from error
        _log.info("journal open", path=str(self._path), schema_version=version)
        return SqliteWriter(connection, lock.release)

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
            raise JournalUnavailableError("read") from error


def _session_key(connection: sqlite3.Connection, session_id: str) -> int | None:
    row = connection.execute("SELECT session_key FROM sessions WHERE session_id = ?", (session_id,)).fetchone()
    return None if row is None else int(row[0])


def _by_ids(connection: sqlite3.Connection, session_id: str, select: str, ids: Sequence[str]) -> list[tuple[Any, ...]]:
    key = _session_key(connection, session_id)
    found: dict[str, tuple[Any, ...]] = {}
    for start in range(0, len(ids), _IDS_PER_STATEMENT):
        chunk = ids[start : start + _IDS_PER_STATEMENT]
        places = ", ".join("?" * len(chunk))
        # The id is the first column of both selections.
        found.update((row[0], row) for row in connection.execute(f"{select}({places})", (key, *chunk)))
    return [found[one] for one in ids if one in found]


def _turns_before(
    connection: sqlite3.Connection, session_id: str, sequence: int | None, limit: int
) -> list[tuple[Any, ...]]:
    before = 2**63 - 1 if sequence is None else sequence
    return connection.execute(_TURNS_BEFORE, (_session_key(connection, session_id), before, limit)).fetchall()


def _load(connection: sqlite3.Connection, session_id: str) -> SessionLog | None:
    connection.execute("BEGIN")  # one snapshot for all tables
    try:
        row = connection.execute(_SESSION, (session_id,)).fetchone()
        if row is None:
            return None
        key, *values = row
        turns = connection.execute(_ALL_TURNS, (key,)).fetchall()
        stimuli = connection.execute(_ALL_STIMULI, (key,)).fetchall()
    finally:
        connection.execute("COMMIT")
    name, temperament, digest, text, keep_text, created = values
    session = SessionFact(name, temperament, digest, text, bool(keep_text), created)
    facts: list[tuple[int, TurnFact | StimulusFact]] = list(
        merge(
            ((number, turn_of(tuple(rest))) for number, *rest in turns),
            ((number, stimulus_of(tuple(rest))) for number, *rest in stimuli),
            key=lambda numbered: numbered[0],
        )
    )
    revision = facts[-1][0] if facts else 1
    return SessionLog(session, [fact for _, fact in facts], revision)
