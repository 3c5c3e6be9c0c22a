"""What is read from the SQLite journal. Every function runs in a reader's thread, with that thread's connection."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from typing import Final, TypeVar

from services.state_engine.journal.facts import UNREADABLE, NumberedFact, SessionLog, Snapshot, Stored
from services.state_engine.journal.rows import (
    SESSION_COLUMNS,
    STIMULUS_COLUMNS,
    TABLES,
    TURN_COLUMNS,
    Row,
    in_order,
    log_of,
    session_of,
)
from services.state_engine.journal.sqlite_file import is_corrupt

_Built = TypeVar("_Built")

_IDS_PER_STATEMENT: Final = 500

TURNS = f"SELECT {', '.join(TURN_COLUMNS)} FROM turns WHERE session_key = ? AND turn_id IN "
_TURNS_BEFORE = (
    f"SELECT sequence, {', '.join(TURN_COLUMNS)} FROM turns WHERE session_key = ? AND sequence < ? "
    "ORDER BY sequence DESC LIMIT ?"
)
STIMULI = f"SELECT {', '.join(STIMULUS_COLUMNS)} FROM stimuli WHERE session_key = ? AND stimulus_id IN "
_FACTS = [
    (
        table,
        f"SELECT sequence, {', '.join(table.columns)} FROM {table.name} WHERE session_key = ? AND sequence > ? ORDER BY sequence",
    )
    for table in TABLES.values()
]
_SNAPSHOT = "SELECT revision, content FROM snapshots WHERE session_key = ?"
_SESSION = (
    f"SELECT session_key, text, {', '.join(SESSION_COLUMNS)} FROM sessions "
    "JOIN temperaments ON digest = temperament_digest WHERE session_id = ?"
)
# The last turn first, which an index finds: most sessions that are in use go no further.
_UNTOUCHED = (
    "SELECT session_id FROM sessions WHERE created_ns < ?1 AND ifnull((SELECT recorded_ns FROM turns "
    "WHERE turns.session_key = sessions.session_key ORDER BY sequence DESC LIMIT 1), 0) < ?1 AND "
    + " AND ".join(
        f"NOT EXISTS (SELECT 1 FROM {table.name} AS facts WHERE facts.session_key = sessions.session_key AND recorded_ns >= ?1)"
        for table in TABLES.values()
    )
    + " LIMIT ?2"
)


def _session_key(connection: sqlite3.Connection, session_id: str) -> int | None:
    row = connection.execute("SELECT session_key FROM sessions WHERE session_id = ?", (session_id,)).fetchone()
    return None if row is None else int(row[0])


def by_ids(connection: sqlite3.Connection, session_id: str, select: str, ids: Sequence[str]) -> list[Row]:
    """Return those rows of a selection that exist, in the order of their ids."""
    key = _session_key(connection, session_id)
    found: dict[str, Row] = {}
    for start in range(0, len(ids), _IDS_PER_STATEMENT):
        chunk = ids[start : start + _IDS_PER_STATEMENT]
        places = ", ".join("?" * len(chunk))
        # The id is the first column of both selections.
        found.update((row[0], row) for row in connection.execute(f"{select}({places})", (key, *chunk)))
    return [found[one] for one in ids if one in found]


def turns_before(connection: sqlite3.Connection, session_id: str, sequence: int | None, limit: int) -> list[Row]:
    """Return the latest turns before a number, latest first."""
    before = 2**63 - 1 if sequence is None else sequence
    return connection.execute(_TURNS_BEFORE, (_session_key(connection, session_id), before, limit)).fetchall()


def load(connection: sqlite3.Connection, session_id: str) -> SessionLog | None:
    """Return all facts of a session, or None if there is no such session."""
    connection.execute("BEGIN")  # one snapshot for all tables
    try:
        row = connection.execute(_SESSION, (session_id,)).fetchone()
        if row is None:
            return None
        found = [(table, connection.execute(select, (row[0], 1)).fetchall()) for table, select in _FACTS]
    finally:
        connection.execute("COMMIT")
    return log_of(row[0], session_of(row[1:]), found)


def rebuild(connection: sqlite3.Connection, session_id: str, build: Callable[[Stored], _Built]) -> _Built | None:
    """Have something built from a session, or return None if there is no such session."""
    connection.execute("BEGIN")
    try:
        row = connection.execute(_SESSION, (session_id,)).fetchone()
        if row is None:
            return None
        key = int(row[0])

        def after(revision: int) -> Iterator[NumberedFact]:
            return in_order((table, connection.execute(select, (key, revision))) for table, select in _FACTS)

        return build(Stored(session_of(row[1:]), key, _snapshot(connection, key), after))
    finally:
        # SQLite commits nothing any more, not even what was only read, once it has met a damaged page.
        connection.execute("ROLLBACK")


def _snapshot(connection: sqlite3.Connection, key: int) -> Snapshot | None:
    try:
        kept = connection.execute(_SNAPSHOT, (key,)).fetchone()
    except sqlite3.DatabaseError as error:
        if not is_corrupt(error):
            raise
        # The log may be whole, and it is enough.
        return UNREADABLE
    return None if kept is None else Snapshot(*kept)


def untouched_since(connection: sqlite3.Connection, moment_ns: int, limit: int) -> list[str]:
    """Return sessions of which nothing was recorded at a moment or later."""
    return [session_id for (session_id,) in connection.execute(_UNTOUCHED, (moment_ns, limit))]
