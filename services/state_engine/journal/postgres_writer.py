"""Writes batches of facts to PostgreSQL: a batch is one transaction of two round trips, or one append at a time if something does not fit.

Several engines may do so at once. Whoever writes first locks the heads of its sessions, in the order of their keys, then opens sessions, in
the order of their ids. Everybody waits in the same order, so that nobody waits in a circle.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, TypeAlias, TypeVar

import psycopg
from psycopg import errors
from psycopg.pq import TransactionStatus

from limbic.runtime.errors import LimbicError
from limbic.runtime.logs import get_logger
from services.state_engine.errors import JournalUnavailableError, SessionNotFoundError
from services.state_engine.journal import copying
from services.state_engine.journal.backoff import Backoff
from services.state_engine.journal.batch import Rows
from services.state_engine.journal.facts import Head, Origin, SessionFact
from services.state_engine.journal.port import JournalConflictError
from services.state_engine.journal.postgres_server import CHANNEL, Connection, error_name, failure
from services.state_engine.journal.rows import SESSION_COLUMNS, TABLES, session_row
from services.state_engine.journal.writer import Append, Copying, Deletion, Keeping, Outcome
from services.state_engine.metrics import COMMIT_SECONDS, RECONNECTS

_log = get_logger(__name__)
_Result = TypeVar("_Result")
Cursor: TypeAlias = psycopg.Cursor[tuple[Any, ...]]

_LARGEST_NOTE: Final = 7_900
"""A notification holds fewer than 8,000 bytes."""

_LOCK_HEADS = (
    "SELECT session_id, heads.session_key, revision FROM heads JOIN sessions USING (session_key) "
    "WHERE session_id = ANY(%s) ORDER BY heads.session_key FOR NO KEY UPDATE OF heads"
)
_OPEN_TEMPERAMENT = "INSERT INTO temperaments (digest, text) VALUES (%s, %s) ON CONFLICT DO NOTHING"
_OPEN_SESSION = (
    f"INSERT INTO sessions ({', '.join(SESSION_COLUMNS)}) VALUES ({', '.join(['%s'] * len(SESSION_COLUMNS))}) "
    "RETURNING session_key"
)
_MOVE_HEADS = (
    "INSERT INTO heads (session_key, revision) SELECT * FROM unnest(%s::bigint[], %s::bigint[]) "
    "ON CONFLICT (session_key) DO UPDATE SET revision = EXCLUDED.revision"
)
_LOCK_SESSION = (
    "SELECT session_key, temperament_digest, greatest(created_ns, "
    + ", ".join(
        f"(SELECT recorded_ns FROM {table.name} AS facts WHERE facts.session_key = sessions.session_key "
        "ORDER BY sequence DESC LIMIT 1)"
        for table in TABLES.values()
    )
    + ") FROM sessions JOIN heads USING (session_key) WHERE session_id = %s FOR UPDATE OF heads"
)
_DROP_TEMPERAMENT = "DELETE FROM temperaments WHERE digest = %s AND NOT EXISTS (SELECT 1 FROM sessions WHERE temperament_digest = digest)"
# As whoever appends does it, so that the session is not deleted meanwhile.
_LOCK_HEAD = (
    "SELECT session_key FROM heads JOIN sessions USING (session_key) WHERE session_id = %s FOR NO KEY UPDATE OF heads"
)
# While something is copied from a session others may append to it, and nobody may delete it.
_HOLD = "SELECT session_key FROM heads JOIN sessions USING (session_key) WHERE session_id = %s FOR KEY SHARE OF heads"
_KEEP = (
    "INSERT INTO snapshots (session_key, revision, content) VALUES (%s, %s, %b) "
    "ON CONFLICT (session_key) DO UPDATE SET revision = EXCLUDED.revision, content = EXCLUDED.content"
)
_INSERT = {
    kind: f"INSERT INTO {table.name} (session_key, sequence, {', '.join(table.columns)}) "
    f"VALUES (%s, %s{', %s' * len(table.columns)})"
    for kind, table in TABLES.items()
}


class PostgresWriter:
    """See `BatchWriter`.

    Args:
        connect: opens a connection in autocommit mode, that no other thread uses.
        connection: the first one.
        origin: this engine's own name in notifications.
    """

    def __init__(self, connect: Callable[[], Connection], connection: Connection, origin: str) -> None:
        self._connect = connect
        self._connection = connection
        self._origin = origin
        self._backoff = Backoff()
        # Whether the server may have been told to commit: then nobody but the server knows what became of it.
        self._committing = False

    def write(self, batch: Sequence[Append]) -> list[Outcome]:
        """Make a batch durable and return one outcome for each of its appends."""
        started = time.monotonic()
        try:
            return self._attempt(lambda connection: self._write(connection, batch))
        except (psycopg.Error, JournalUnavailableError) as error:
            return [_told(error, len(batch)) for _ in batch]
        finally:
            COMMIT_SECONDS.observe(time.monotonic() - started)

    def delete(self, deletion: Deletion) -> Outcome:
        """Delete a session from the tables. A temperament that no session has any more goes too."""
        try:
            return self._attempt(lambda connection: self._delete(connection, deletion))
        except (psycopg.Error, JournalUnavailableError) as error:
            return _told(error, 1)

    def copy(self, work: Copying) -> Outcome:
        """Make a session from a part of another one."""
        started = time.monotonic()
        try:
            return self._attempt(lambda connection: self._copy(connection, work.opening, work.origin))
        except psycopg.IntegrityError:
            return JournalConflictError()
        except SessionNotFoundError as error:
            return error
        except (psycopg.Error, JournalUnavailableError) as error:
            return _told(error, 1)
        finally:
            COMMIT_SECONDS.observe(time.monotonic() - started)

    def keep(self, keeping: Keeping) -> Outcome:
        """Write a snapshot in the place of the one before."""
        try:
            return self._attempt(lambda connection: self._keep(connection, keeping))
        except (psycopg.Error, JournalUnavailableError) as error:
            return _told(error, 1)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def _attempt(self, work: Callable[[Connection], _Result]) -> _Result:
        for last in (False, False, True):
            connection = self._connected()
            self._committing = False
            try:
                return work(connection)
            except psycopg.OperationalError as error:
                # Of two that wait for each other the server breaks one off; and a connection may have died while nobody used it.
                broken_off = isinstance(error, (errors.DeadlockDetected, errors.SerializationFailure))
                if last or not (broken_off or (connection.closed and not self._committing)):
                    raise
            finally:
                _roll_back(connection)
        raise AssertionError("the last attempt returns or raises")

    def _connected(self) -> Connection:
        if self._connection.closed:
            if self._backoff.left_s:
                raise JournalUnavailableError("written")
            try:
                self._connection = self._connect()
            except psycopg.Error:
                self._backoff.failed()
                raise
            self._backoff.succeeded()
            RECONNECTS.labels("writer").inc()
        return self._connection

    def _write(self, connection: Connection, batch: Sequence[Append]) -> list[Outcome]:
        try:
            return self._all_at_once(connection, batch)
        except (psycopg.IntegrityError, SessionNotFoundError):
            # One of them does not fit: its neighbours must not suffer, so find out which.
            _roll_back(connection)
            return self._one_by_one(connection, batch)

    def _all_at_once(self, connection: Connection, batch: Sequence[Append]) -> list[Outcome]:
        with connection.pipeline():
            connection.execute("BEGIN")
            rows = Rows(_locked(connection, batch))
            rows.heads |= _open(connection, [opening for append in batch if (opening := _opening(append)) is not None])
            outcomes: list[Outcome] = [_collect(append, rows) for append in batch]
            _insert(connection, rows)
            commit = self._commit(connection, rows)
        _check(commit)
        return outcomes

    def _one_by_one(self, connection: Connection, batch: Sequence[Append]) -> list[Outcome]:
        outcomes: list[Outcome] = []
        connection.execute("BEGIN")
        heads = _locked(connection, batch)
        for append in batch:
            rows = Rows(dict(heads))
            connection.execute("SAVEPOINT append")
            try:
                opening = _opening(append)
                rows.heads |= _open(connection, [opening] if opening is not None else [])
                outcome: Outcome = _collect(append, rows)
                _insert(connection, rows)
            except psycopg.IntegrityError:
                outcome = JournalConflictError()
            except SessionNotFoundError as error:
                outcome = error
            if isinstance(outcome, int):
                heads = rows.heads
            else:
                connection.execute("ROLLBACK TO append")
            connection.execute("RELEASE append")
            outcomes.append(outcome)
        _check(self._commit(connection, Rows(heads)))
        return outcomes

    def _delete(self, connection: Connection, deletion: Deletion) -> int:
        connection.execute("BEGIN")
        row = connection.execute(_LOCK_SESSION, (deletion.session_id,)).fetchone()
        if row is None:
            return 0
        key, digest, touched_ns = row
        if deletion.untouched_since_ns is not None and touched_ns >= deletion.untouched_since_ns:
            return 0
        deleted = 1
        for table in TABLES.values():
            deleted += connection.execute(f"DELETE FROM {table.name} WHERE session_key = %s", (key,)).rowcount
        connection.execute("DELETE FROM snapshots WHERE session_key = %s", (key,))
        connection.execute("DELETE FROM heads WHERE session_key = %s", (key,))
        connection.execute("DELETE FROM sessions WHERE session_key = %s", (key,))
        connection.execute(_DROP_TEMPERAMENT, (digest,))
        self._notify(connection, [deletion.session_id])
        self._committing = True
        _check(connection.execute("COMMIT"))
        return deleted

    def _copy(self, connection: Connection, opening: SessionFact, origin: Origin) -> int:
        connection.execute("BEGIN")
        row = connection.execute(_HOLD, (origin.session_id,)).fetchone()
        if row is None or origin.key not in (None, row[0]):
            raise SessionNotFoundError(origin.session_id)
        opened = _open(connection, [opening])[opening.session_id]
        names = {"origin": row[0], "copy": opened.key, "turn_id": origin.turn_id, "revision": origin.revision}
        for statement in copying.POSTGRESQL:
            connection.execute(statement, names)
        counted = connection.execute(copying.COUNT).fetchone()
        revision = 1 + (counted[0] if counted else 0)
        _check(self._commit(connection, Rows({opening.session_id: Head(opened.key, revision)})))
        return revision

    def _keep(self, connection: Connection, keeping: Keeping) -> int:
        connection.execute("BEGIN")
        row = connection.execute(_LOCK_HEAD, (keeping.session_id,)).fetchone()
        if row is None or keeping.key not in (None, row[0]):
            return 0
        connection.execute(_KEEP, (row[0], *keeping.snapshot))
        self._committing = True
        _check(connection.execute("COMMIT"))
        return 1

    def _commit(self, connection: Connection, rows: Rows) -> Cursor:
        keys, revisions = zip(*rows.heads.values(), strict=True) if rows.heads else ((), ())
        connection.execute(_MOVE_HEADS, (list(keys), list(revisions)))
        self._notify(connection, rows.heads)
        self._committing = True
        return connection.execute("COMMIT")

    def _notify(self, connection: Connection, session_ids: Iterable[str]) -> None:
        notes = [self._origin]
        for session_id in session_ids:
            if len(notes[-1]) + len(session_id) >= _LARGEST_NOTE:
                notes.append(self._origin)
            notes[-1] += f" {session_id}"
        connection.execute("SELECT pg_notify(%s, note) FROM unnest(%s::text[]) AS note", (CHANNEL, notes))


def _locked(connection: Connection, batch: Sequence[Append]) -> dict[str, Head]:
    """Lock and return the heads of those of the sessions that exist."""
    ids = list({append.session_id for append in batch})
    return {session_id: Head(key, revision) for session_id, key, revision in connection.execute(_LOCK_HEADS, (ids,))}


def _open(connection: Connection, openings: Sequence[SessionFact]) -> dict[str, Head]:
    """Open sessions and return their heads."""
    for digest, text in sorted({(fact.temperament_digest, fact.temperament_text) for fact in openings}):
        connection.execute(_OPEN_TEMPERAMENT, (digest, text))
    cursors = {
        fact.session_id: connection.execute(_OPEN_SESSION, session_row(fact))
        for fact in sorted(openings, key=lambda fact: fact.session_id)
    }
    return {session_id: Head(row[0], 1) for session_id, cursor in cursors.items() for row in cursor}


def _opening(append: Append) -> SessionFact | None:
    first = append.facts[0]
    return first if isinstance(first, SessionFact) else None


def _collect(append: Append, rows: Rows) -> int:
    head = rows.heads.get(append.session_id)
    if head is None or append.key not in (None, head.key):
        raise SessionNotFoundError(append.session_id)
    return rows.add(append.session_id, head, append.facts if _opening(append) is None else append.facts[1:])


def _insert(connection: Connection, rows: Rows) -> None:
    for kind, values in rows.by_kind.items():
        connection.cursor().executemany(_INSERT[kind], values)


def _check(commit: Cursor) -> None:
    # A transaction that has failed answers a COMMIT with a ROLLBACK, and no error.
    if commit.statusmessage != "COMMIT":
        raise psycopg.OperationalError("the transaction was rolled back")


def _roll_back(connection: Connection) -> None:
    if not connection.closed and connection.info.transaction_status is not TransactionStatus.IDLE:
        try:
            connection.rollback()
        except psycopg.Error as error:
            # Whatever state it is in, the server ends the transaction when the connection goes.
            _log.error("journal not rolled back", error=error_name(error))
            connection.close()


def _told(error: psycopg.Error | JournalUnavailableError, appends: int) -> LimbicError:
    if isinstance(error, JournalUnavailableError):
        return JournalUnavailableError("written")
    _log.error("journal not written", error=error_name(error), appends=appends)
    return failure(error, "written")
