"""Connects to PostgreSQL, and brings its schema up to date."""

from __future__ import annotations

from typing import Any, Final, TypeAlias

import psycopg
from psycopg import conninfo, errors

from limbic.runtime.logs import get_logger
from services.state_engine.errors import JournalCorruptError, JournalUnavailableError
from services.state_engine.journal.migrate import VERSION, VERSION_TABLE, migrations, missing, translated
from services.state_engine.journal.port import JournalOpenError
from services.state_engine.metrics import FAILURES

_log = get_logger(__name__)

Connection: TypeAlias = psycopg.Connection[tuple[Any, ...]]
AsyncConnection: TypeAlias = psycopg.AsyncConnection[tuple[Any, ...]]

SCHEMES: Final = ("postgresql://", "postgres://")
CHANNEL: Final = "limbic_facts"

OLDEST_SERVER: Final = 130_000

_MIGRATION_LOCK: Final = 0x6C696D626963
"""For two engines that start at once on an empty database; "limbic" in ASCII."""

# A server that has gone without a word (its host died, a cable) must not hold a call for the minutes that TCP would wait.
_DEFAULTS: Final = {
    "application_name": "limbic-state-engine",
    "connect_timeout": "5",
    "keepalives_idle": "5",
    "keepalives_interval": "2",
    "keepalives_count": "3",
    "tcp_user_timeout": "10000",
}

# A commit is acknowledged when it is on disk; a server that is set to answer sooner is overruled, a stricter one is not. And an engine
# whose host has died may hold the head of a session: nobody waits for it for ever.
_SESSION: Final = (
    "SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') IN ('off', 'local'); "
    "SET idle_in_transaction_session_timeout = '20s'; SET lock_timeout = '20s'; SET statement_timeout = '60s'"
)


class Server:
    """A database, by its URL. Connections are in autocommit mode.

    Raises:
        JournalOpenError: the URL is none.
    """

    def __init__(self, url: str) -> None:
        try:
            given = conninfo.conninfo_to_dict(url)
        except psycopg.ProgrammingError:
            # The message of libpq would repeat the URL, and a password may be part of it.
            raise JournalOpenError(
                "state.journal_url: is no PostgreSQL URL: postgresql://USER@HOST:PORT/DATABASE"
            ) from None
        self._conninfo = conninfo.make_conninfo("", **{**_DEFAULTS, **given})
        self.name = f"{given.get('dbname', '(default)')} on {given.get('host', '(default)')}"

    def connect(self) -> Connection:
        """Open a connection for one thread.

        Raises:
            psycopg.Error: there is none to be had.
        """
        connection = psycopg.connect(self._conninfo, autocommit=True)
        try:
            connection.execute(_SESSION)
        except psycopg.Error:
            connection.close()
            raise
        return connection

    async def connect_async(self) -> AsyncConnection:
        """Open a connection for the event loop.

        Raises:
            psycopg.Error: there is none to be had.
        """
        connection = await psycopg.AsyncConnection.connect(self._conninfo, autocommit=True)
        try:
            await connection.execute(_SESSION)
        except psycopg.Error:
            await connection.close()
            raise
        return connection


def migrate(connection: Connection, now_ns: int) -> int:
    """Apply the scripts that are missing and return the version reached. Engines that start together take turns.

    Raises:
        JournalOpenError: the journal was written by a later version of the program, or the server is too old.
        psycopg.Error: a script failed; the schema is then as it was before that script.
    """
    if connection.info.server_version < OLDEST_SERVER:
        raise JournalOpenError(
            f"PostgreSQL {connection.info.parameter_status('server_version')} is too old; 13 or later is needed"
        )
    known = migrations("postgresql")
    with connection.transaction():
        connection.execute("SELECT pg_advisory_xact_lock(%s)", (_MIGRATION_LOCK,))
        connection.execute(translated(VERSION_TABLE, "postgresql"))
        row = connection.execute(VERSION).fetchone()
        for number, script in missing(row[0] if row else 0, known):
            connection.execute(script)
            connection.execute("INSERT INTO schema_version VALUES (%s, %s)", (number, now_ns))
    return known[-1][0]


def warn_if_not_durable(connection: Connection) -> None:
    """Say in the log if the server itself may lose what it has acknowledged."""
    row = connection.execute("SELECT current_setting('fsync'), current_setting('full_page_writes')").fetchone()
    if row != ("on", "on"):
        _log.warning(
            "the database server may lose what it has acknowledged",
            fsync=row and row[0],
            full_page_writes=row and row[1],
        )


def failure(error: psycopg.Error, action: str) -> JournalCorruptError | JournalUnavailableError:
    """Return what callers are told of an error; `action` is what could not be done."""
    if isinstance(error, (errors.DataCorrupted, errors.IndexCorrupted)):
        FAILURES.labels("corrupt").inc()
        return JournalCorruptError()
    FAILURES.labels(action).inc()
    return JournalUnavailableError(action)


def error_name(error: psycopg.Error) -> str:
    """Return what went wrong as a name, such as DiskFull: the message may quote values, which are private."""
    return f"{type(error).__name__} {error.sqlstate or ''}".rstrip()
