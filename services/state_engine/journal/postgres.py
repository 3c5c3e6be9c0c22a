"""The journal for several engines: a PostgreSQL database, one writer with group commit in each engine, and readers beside it."""

from __future__ import annotations

import asyncio
import secrets
import threading
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

import psycopg

from limbic.runtime.clock import Clock
from limbic.runtime.logs import get_logger
from services.state_engine.journal import postgres_queries as queries
from services.state_engine.journal.facts import (
    Fact,
    Head,
    NumberedFact,
    NumberedTurn,
    Origin,
    SessionFact,
    SessionLog,
    Snapshot,
    StimulusFact,
    Stored,
    TurnFact,
)
from services.state_engine.journal.port import JournalOpenError, Others, Settled
from services.state_engine.journal.postgres_others import PostgresOthers
from services.state_engine.journal.postgres_server import (
    Connection,
    Server,
    error_name,
    failure,
    migrate,
    warn_if_not_durable,
)
from services.state_engine.journal.postgres_writer import PostgresWriter
from services.state_engine.journal.rows import TABLES, stimulus_of, turn_of
from services.state_engine.journal.writer import GroupCommit
from services.state_engine.metrics import RECONNECTS

_log = get_logger(__name__)
_Result = TypeVar("_Result")

_READERS: Final = 2
"""So that a long session that is being rebuilt does not hold up a short read."""

_VACUUM = f"VACUUM {', '.join([*(table.name for table in TABLES.values()), 'heads', 'snapshots', 'sessions', 'temperaments'])}"


class PostgresJournal:
    """See `Journal`.

    Args:
        url: `postgresql://…`, as libpq reads it.
        clock: for the moments of migrations.
        capacity: appends that may wait for the writer.

    Raises:
        JournalOpenError: the URL is none.
    """

    def __init__(self, url: str, clock: Clock, *, capacity: int) -> None:
        self._server = Server(url)
        self._clock = clock
        origin = secrets.token_hex(8)
        self._origin = origin
        self._commits = GroupCommit(self._open_writer, capacity)
        self._others = PostgresOthers(self._server, origin, self._since)
        self._readers = ThreadPoolExecutor(_READERS, thread_name_prefix="journal-reader")
        self._reader = threading.local()
        self._connections: set[Connection] = set()
        self._vacuum: asyncio.Task[None] | None = None
        self._vacuum_again = False

    @property
    def others(self) -> Others | None:
        """The other engines on this database, whether or not there are any now."""
        return self._others

    async def start(self) -> None:
        """Connect, and bring the schema up to date."""
        await self._commits.start()
        try:
            await self._others.start()
        except psycopg.Error as error:
            raise _not_open(self._server, error) from error

    async def stop(self) -> None:
        """Write what waits, and close all connections."""
        await self._others.stop()
        if self._vacuum is not None:
            await self._vacuum
        await asyncio.to_thread(self._readers.shutdown)
        for connection in self._connections:
            connection.close()
        self._connections.clear()
        await self._commits.stop()

    def append(
        self, session_id: str, facts: Sequence[Fact], settled: Settled, key: int | None = None
    ) -> asyncio.Future[int]:
        """Record facts of one session, all or none of them."""
        return self._commits.append(session_id, facts, settled, key)

    def delete(self, session_id: str, settled: Settled, untouched_since_ns: int | None = None) -> asyncio.Future[int]:
        """Delete all facts of a session; then, behind the answer, have the server reclaim their room."""

        def deleted(facts: int | None) -> None:
            if facts:
                self._start_vacuum()
            settled(facts)

        return self._commits.delete(session_id, deleted, untouched_since_ns)

    def copy(self, opening: SessionFact, origin: Origin, settled: Settled) -> asyncio.Future[int]:
        """Record a new session with what it takes along from another one."""
        return self._commits.copy(opening, origin, settled)

    def keep(self, session_id: str, snapshot: Snapshot, key: int | None = None) -> asyncio.Future[int]:
        """Keep a snapshot in the place of the one that is there."""
        return self._commits.keep(session_id, snapshot, key)

    async def rebuild(self, session_id: str, build: Callable[[Stored], _Result]) -> _Result | None:
        """Have something built from a session in a reader's thread, and return it; None if there is no such session."""
        return await self._read(queries.rebuild, session_id, build)

    async def load(self, session_id: str) -> SessionLog | None:
        """Return all facts of a session, or None if there is no such session."""
        return await self._read(queries.load, session_id)

    async def untouched_since(self, moment_ns: int, limit: int) -> list[str]:
        """Return sessions of which nothing was recorded at a moment or later, at most `limit`."""
        return await self._read(queries.untouched_since, moment_ns, limit)

    async def turns(self, session_id: str, turn_ids: Collection[str]) -> list[TurnFact]:
        """Return those of the turns that exist, in the order of `turn_ids`."""
        rows = await self._read(queries.by_ids, session_id, queries.TURNS, list(turn_ids))
        return [turn_of(row) for row in rows]

    async def turns_before(self, session_id: str, sequence: int | None, limit: int) -> list[NumberedTurn]:
        """Return the latest turns recorded before a number (None: all), oldest first, at most `limit`."""
        rows = await self._read(queries.turns_before, session_id, sequence, limit)
        return [NumberedTurn(row[0], turn_of(row[1:])) for row in reversed(rows)]

    async def stimuli(self, session_id: str, stimulus_ids: Collection[str]) -> list[StimulusFact]:
        """Return those of the stimuli that exist, in the order of `stimulus_ids`."""
        rows = await self._read(queries.by_ids, session_id, queries.STIMULI, list(stimulus_ids))
        return [stimulus_of(row) for row in rows]

    async def _since(self, session_id: str, head: Head) -> list[NumberedFact] | None:
        return await self._read(queries.since, session_id, head)

    def _open_writer(self) -> PostgresWriter:
        try:
            connection = self._server.connect()
        except psycopg.Error as error:
            raise _not_open(self._server, error) from error
        try:
            version = migrate(connection, self._clock.now_ns())
            warn_if_not_durable(connection)
        except (psycopg.Error, JournalOpenError) as error:
            connection.close()
            if isinstance(error, JournalOpenError):
                raise
            raise _not_open(self._server, error) from error
        _log.info("journal open", database=self._server.name, schema_version=version)
        return PostgresWriter(self._server.connect, connection, self._origin)

    async def _read(self, query: Callable[..., _Result], *arguments: object) -> _Result:
        def run() -> _Result:
            for last in (False, True):
                connection = self._reading()
                try:
                    return query(connection, *arguments)
                except psycopg.OperationalError:
                    # It may have died while nobody used it, and to read twice changes nothing.
                    if last or not connection.closed:
                        raise
            raise AssertionError("the last attempt returns or raises")

        try:
            return await asyncio.get_running_loop().run_in_executor(self._readers, run)
        except psycopg.Error as error:
            _log.error("journal not read", error=error_name(error))
            raise failure(error, "read") from error

    def _reading(self) -> Connection:
        connection: Connection | None = getattr(self._reader, "connection", None)
        if connection is None or connection.closed:
            if connection is not None:
                self._connections.discard(connection)
                RECONNECTS.labels("reader").inc()
            connection = self._server.connect()
            connection.read_only = True
            connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ  # one snapshot for all tables
            self._reader.connection = connection
            self._connections.add(connection)
        return connection

    def _start_vacuum(self) -> None:
        # One for many deletions: what is deleted while it runs is for the next.
        self._vacuum_again = True
        if self._vacuum is None or self._vacuum.done():
            self._vacuum = asyncio.create_task(self._vacuum_while_needed(), name="journal-vacuum")

    async def _vacuum_while_needed(self) -> None:
        while self._vacuum_again:
            self._vacuum_again = False
            try:
                await asyncio.to_thread(self._vacuum_once)
            except psycopg.Error as error:
                # The server does it too, by itself, later.
                _log.warning("not vacuumed", error=error_name(error))

    def _vacuum_once(self) -> None:
        with self._server.connect() as connection:
            connection.execute("SET statement_timeout = 0")
            connection.execute(_VACUUM)


def _not_open(server: Server, error: psycopg.Error) -> JournalOpenError:
    # What libpq says of a failed connection names hosts and roles, and never a password.
    return JournalOpenError(f"the journal {server.name} cannot be opened: {' '.join(str(error).split())}")
