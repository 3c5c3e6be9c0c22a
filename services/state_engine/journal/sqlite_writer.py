"""Writes batches of facts to SQLite: all of a batch in a few statements, and one by one only if something in it does not fit."""

from __future__ import annotations

import sqlite3
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from limbic.runtime.logs import get_logger
from services.state_engine.errors import JournalUnavailableError, SessionNotFoundError
from services.state_engine.journal.facts import SessionFact, TurnFact
from services.state_engine.journal.port import JournalConflictError
from services.state_engine.journal.rows import STIMULUS_COLUMNS, TURN_COLUMNS, Row, insert_rows, stimulus_row, turn_row
from services.state_engine.journal.sqlite_file import error_name
from services.state_engine.journal.writer import Append, Outcome
from services.state_engine.metrics import COMMIT_SECONDS

_log = get_logger(__name__)

ROWS_PER_STATEMENT: Final = 500
"""22 columns times 500 stay below SQLite's limit of 32,766 parameters."""

_CACHED_HEADS: Final = 100_000

_LAST_SEQUENCE: Final = " UNION ALL ".join(
    ["SELECT 1"]
    + [
        f"SELECT MAX(sequence) FROM {table} WHERE session_key = :key"
        for table in ("turns", "stimuli", "retractions", "pauses", "resumptions", "rewinds")
    ]
)


@dataclass(frozen=True, slots=True)
class _Head:
    key: int
    sequence: int


@dataclass(slots=True)
class _Rows:
    """What one transaction adds, and where it leaves each session."""

    heads: dict[str, _Head] = field(default_factory=dict)
    turns: list[Row] = field(default_factory=list)
    stimuli: list[Row] = field(default_factory=list)


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
        self._heads: OrderedDict[str, _Head] = OrderedDict()

    def write(self, batch: Sequence[Append]) -> list[Outcome]:
        """Make a batch durable and return one outcome for each of its appends."""
        started = time.monotonic()
        try:
            return self._write(batch)
        except sqlite3.Error as error:
            # What became of it is for the file to say, not for our memory.
            self._heads.clear()
            _log.error("journal not written", error=error_name(error), appends=len(batch))
            return [JournalUnavailableError("written") for _ in batch]
        finally:
            self._roll_back()
            COMMIT_SECONDS.observe(time.monotonic() - started)

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
        rows = _Rows()
        self._connection.execute("BEGIN IMMEDIATE")
        outcomes: list[Outcome] = [self._collect(append, rows) for append in batch]
        self._insert(rows)
        self._commit(rows)
        return outcomes

    def _one_by_one(self, batch: Sequence[Append]) -> list[Outcome]:
        outcomes: list[Outcome] = []
        heads: dict[str, _Head] = {}
        self._connection.execute("BEGIN IMMEDIATE")
        for append in batch:
            rows = _Rows(heads=dict(heads))
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
        self._commit(_Rows(heads=heads))
        return outcomes

    def _collect(self, append: Append, rows: _Rows) -> int:
        facts = append.facts
        opening = facts[0]
        if isinstance(opening, SessionFact):
            rows.heads[append.session_id] = _Head(self._open_session(opening), 1)
            facts = facts[1:]
        head = rows.heads.get(append.session_id) or self._head(append.session_id)
        sequence = head.sequence
        for fact in facts:
            sequence += 1
            if isinstance(fact, TurnFact):
                rows.turns.append((head.key, sequence, *turn_row(fact)))
            elif isinstance(fact, SessionFact):
                raise ValueError("a session is opened by the first fact of an append")
            else:
                rows.stimuli.append((head.key, sequence, *stimulus_row(fact)))
        rows.heads[append.session_id] = _Head(head.key, sequence)
        return sequence

    def _open_session(self, fact: SessionFact) -> int:
        self._connection.execute(
            "INSERT INTO temperaments (digest, text) VALUES (?, ?) ON CONFLICT DO NOTHING",
            (fact.temperament_digest, fact.temperament_text),
        )
        cursor = self._connection.execute(
            "INSERT INTO sessions (session_id, temperament, temperament_digest, keep_text, created_ns) VALUES (?, ?, ?, ?, ?)",
            (fact.session_id, fact.temperament, fact.temperament_digest, int(fact.keep_text), fact.created_ns),
        )
        key = cursor.lastrowid
        if key is None:
            raise sqlite3.DatabaseError("an inserted row has no rowid")
        return key

    def _head(self, session_id: str) -> _Head:
        head = self._heads.get(session_id)
        if head is not None:
            return head
        row = self._connection.execute(
            "SELECT session_key FROM sessions WHERE session_id = ?", (session_id,)
        ).fetchone()
        if row is None:
            raise SessionNotFoundError(session_id)
        numbers = self._connection.execute(_LAST_SEQUENCE, {"key": row[0]}).fetchall()
        return _Head(row[0], max(number for (number,) in numbers if number is not None))

    def _insert(self, rows: _Rows) -> None:
        for table, columns, values in (
            ("turns", TURN_COLUMNS, rows.turns),
            ("stimuli", STIMULUS_COLUMNS, rows.stimuli),
        ):
            for start in range(0, len(values), ROWS_PER_STATEMENT):
                chunk = values[start : start + ROWS_PER_STATEMENT]
                parameters = [value for row in chunk for value in row]
                self._connection.execute(insert_rows(table, columns, len(chunk)), parameters)

    def _commit(self, rows: _Rows) -> None:
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
