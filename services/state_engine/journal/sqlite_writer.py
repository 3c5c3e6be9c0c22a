"""Writes batches of facts to SQLite: all of a batch in a few statements, and one by one only if something in it does not fit."""

from __future__ import annotations

import sqlite3
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Final

from limbic.runtime.logs import get_logger
from services.state_engine.errors import JournalUnavailableError, SessionNotFoundError
from services.state_engine.journal import copying
from services.state_engine.journal.batch import Rows
from services.state_engine.journal.facts import Head, Origin, SessionFact
from services.state_engine.journal.port import JournalConflictError
from services.state_engine.journal.rows import SESSION_COLUMNS, TABLES, insert_rows, session_row
from services.state_engine.journal.sqlite_file import error_name, failure
from services.state_engine.journal.writer import Append, Copying, Deletion, Keeping, Outcome
from services.state_engine.metrics import COMMIT_SECONDS

_log = get_logger(__name__)

ROWS_PER_STATEMENT: Final = 500
"""22 columns times 500 stay below SQLite's limit of 32,766 parameters."""

_CACHED_HEADS: Final = 100_000

_LAST_SEQUENCE: Final = " UNION ALL ".join(
    ["SELECT 1"] + [f"SELECT MAX(sequence) FROM {table.name} WHERE session_key = :key" for table in TABLES.values()]
)


_KEEP: Final = (
    "INSERT INTO snapshots (session_key, revision, content) "
    "SELECT session_key, ?1, ?2 FROM sessions WHERE session_id = ?3 AND session_key = ifnull(?4, session_key) "
    "ON CONFLICT (session_key) DO UPDATE SET revision = excluded.revision, content = excluded.content"
)


class SqliteWriter:
    """See `BatchWriter`.

    Args:
        connection: in autocommit mode, used by no other thread.
        on_close: called after it is closed.
    """

    def __init__(self, connection: sqlite3.Connection, on_close: Callable[[], None]) -> None:
        self._connection = connection
        self._on_close = on_close
        # Where each session's log ends. Nobody else writes: the file is locked.
        self._heads: OrderedDict[str, Head] = OrderedDict()
        # A process that was killed may have left what was deleted in the WAL.
        self._clean = self._empty_wal()

    def write(self, batch: Sequence[Append]) -> list[Outcome]:
        """Make a batch durable and return one outcome for each of its appends."""
        started = time.monotonic()
        try:
            return self._write(batch)
        except sqlite3.Error as error:
            # What became of it is for the file to say, not for our memory.
            self._heads.clear()
            _log.error("journal not written", error=error_name(error), appends=len(batch))
            return [failure(error, "written") for _ in batch]
        finally:
            self._roll_back()
            COMMIT_SECONDS.observe(time.monotonic() - started)

    def delete(self, deletion: Deletion) -> Outcome:
        """Delete a session from the tables, and then from the WAL, which holds pages as they were before.

        `secure_delete` overwrites what is freed in the file. A temperament that no session has any more goes too.
        """
        self._heads.pop(deletion.session_id, None)
        try:
            deleted = self._delete(deletion)
            self._roll_back()
            self._clean = (self._clean and not deleted) or self._empty_wal()
        except sqlite3.Error as error:
            _log.error("session not deleted", error=error_name(error))
            return failure(error, "written")
        finally:
            self._roll_back()
        return deleted if self._clean else JournalUnavailableError("cleaned of what was deleted")

    def copy(self, work: Copying) -> Outcome:
        """Make a session from a part of another one."""
        started = time.monotonic()
        try:
            return self._copy(work.opening, work.origin)
        except sqlite3.IntegrityError:
            return JournalConflictError()
        except SessionNotFoundError as error:
            return error
        except sqlite3.Error as error:
            _log.error("session not copied", error=error_name(error))
            return failure(error, "written")
        finally:
            self._roll_back()
            COMMIT_SECONDS.observe(time.monotonic() - started)

    def keep(self, keeping: Keeping) -> Outcome:
        """Write a snapshot in the place of the one before."""
        revision, content = keeping.snapshot
        try:
            return self._connection.execute(_KEEP, (revision, content, keeping.session_id, keeping.key)).rowcount
        except sqlite3.Error as error:
            _log.error("snapshot not written", error=error_name(error))
            return failure(error, "written")

    def close(self) -> None:
        """Close the connection, which folds the WAL into the file."""
        self._connection.close()
        self._on_close()

    def _write(self, batch: Sequence[Append]) -> list[Outcome]:
        try:
            return self._all_at_once(batch)
        except (sqlite3.IntegrityError, SessionNotFoundError):
            # One of them does not fit: its neighbours must not suffer, so find out which.
            self._roll_back()
            return self._one_by_one(batch)

    def _all_at_once(self, batch: Sequence[Append]) -> list[Outcome]:
        rows = Rows()
        self._connection.execute("BEGIN IMMEDIATE")
        outcomes: list[Outcome] = [self._collect(append, rows) for append in batch]
        self._insert(rows)
        self._commit(rows)
        return outcomes

    def _one_by_one(self, batch: Sequence[Append]) -> list[Outcome]:
        outcomes: list[Outcome] = []
        heads: dict[str, Head] = {}
        self._connection.execute("BEGIN IMMEDIATE")
        for append in batch:
            rows = Rows(heads=dict(heads))
            self._connection.execute("SAVEPOINT append")
            try:
                outcome: Outcome = self._collect(append, rows)
                self._insert(rows)
            except sqlite3.IntegrityError:
                outcome = JournalConflictError()
            except SessionNotFoundError as error:
                outcome = error
            if isinstance(outcome, int):
                heads = rows.heads
            else:
                self._connection.execute("ROLLBACK TO append")
            self._connection.execute("RELEASE append")
            outcomes.append(outcome)
        self._commit(Rows(heads=heads))
        return outcomes

    def _collect(self, append: Append, rows: Rows) -> int:
        facts = append.facts
        opening = facts[0]
        if isinstance(opening, SessionFact):
            rows.heads[append.session_id] = Head(self._open_session(opening), 1)
            facts = facts[1:]
        head = rows.heads.get(append.session_id) or self._head(append.session_id)
        if append.key not in (None, head.key):
            raise SessionNotFoundError(append.session_id)
        return rows.add(append.session_id, head, facts)

    def _delete(self, deletion: Deletion) -> int:
        self._connection.execute("BEGIN IMMEDIATE")
        row = self._connection.execute(
            "SELECT session_key, temperament_digest, created_ns FROM sessions WHERE session_id = ?",
            (deletion.session_id,),
        ).fetchone()
        if row is None or self._touched(row[0], row[2], deletion.untouched_since_ns):
            return 0
        deleted = 1
        for table in TABLES.values():
            deleted += self._connection.execute(f"DELETE FROM {table.name} WHERE session_key = ?", (row[0],)).rowcount
        self._connection.execute("DELETE FROM snapshots WHERE session_key = ?", (row[0],))
        self._connection.execute("DELETE FROM sessions WHERE session_key = ?", (row[0],))
        self._connection.execute(
            "DELETE FROM temperaments WHERE digest = ?1 AND NOT EXISTS "
            "(SELECT 1 FROM sessions WHERE temperament_digest = ?1)",
            (row[1],),
        )
        self._connection.execute("COMMIT")
        return deleted

    def _copy(self, opening: SessionFact, origin: Origin) -> int:
        execute = self._connection.execute
        execute("BEGIN IMMEDIATE")
        head = self._head(origin.session_id)
        if origin.key not in (None, head.key):
            raise SessionNotFoundError(origin.session_id)
        key = self._open_session(opening)
        names = {"origin": head.key, "copy": key, "turn_id": origin.turn_id, "revision": origin.revision}
        for statement in copying.SQLITE:
            execute(statement, names)
        (facts,) = execute(copying.COUNT).fetchone()
        for statement in copying.SQLITE_END:
            execute(statement)
        execute("COMMIT")
        return 1 + int(facts)

    def _touched(self, key: int, created_ns: int, since_ns: int | None) -> bool:
        if since_ns is None:
            return False
        selects = [
            f"SELECT 1 FROM {table.name} WHERE session_key = ?1 AND recorded_ns >= ?2" for table in TABLES.values()
        ]
        select = f"SELECT EXISTS ({' UNION ALL '.join(selects)})"
        return created_ns >= since_ns or bool(self._connection.execute(select, (key, since_ns)).fetchone()[0])

    def _empty_wal(self) -> bool:
        """Fold the WAL into the file and cut it to nothing; False if a reader of long standing still needs it."""
        (busy, _, _) = self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        return not busy

    def _open_session(self, fact: SessionFact) -> int:
        self._connection.execute(
            "INSERT INTO temperaments (digest, text) VALUES (?, ?) ON CONFLICT DO NOTHING",
            (fact.temperament_digest, fact.temperament_text),
        )
        cursor = self._connection.execute(
            f"INSERT INTO sessions ({', '.join(SESSION_COLUMNS)}) VALUES ({', '.join('?' * len(SESSION_COLUMNS))})",
            session_row(fact),
        )
        key = cursor.lastrowid
        if key is None:
            raise sqlite3.DatabaseError("an inserted row has no rowid")
        return key

    def _head(self, session_id: str) -> Head:
        head = self._heads.get(session_id)
        if head is not None:
            return head
        row = self._connection.execute(
            "SELECT session_key FROM sessions WHERE session_id = ?", (session_id,)
        ).fetchone()
        if row is None:
            raise SessionNotFoundError(session_id)
        numbers = self._connection.execute(_LAST_SEQUENCE, {"key": row[0]}).fetchall()
        return Head(row[0], max(number for (number,) in numbers if number is not None))

    def _insert(self, rows: Rows) -> None:
        for kind, values in rows.by_kind.items():
            table = TABLES[kind]
            for start in range(0, len(values), ROWS_PER_STATEMENT):
                chunk = values[start : start + ROWS_PER_STATEMENT]
                parameters = [value for row in chunk for value in row]
                self._connection.execute(insert_rows(table.name, table.columns, len(chunk)), parameters)

    def _commit(self, rows: Rows) -> None:
        self._connection.execute("COMMIT")
        for session_id, head in rows.heads.items():
            self._heads[session_id] = head
            self._heads.move_to_end(session_id)
        while len(self._heads) > _CACHED_HEADS:
            self._heads.popitem(last=False)

    def _roll_back(self) -> None:
        # SQLite ends some failed transactions by itself and leaves others open.
        if self._connection.in_transaction:
            try:
                self._connection.execute("ROLLBACK")
            except sqlite3.Error as error:
                _log.error("journal not rolled back", error=error_name(error))
