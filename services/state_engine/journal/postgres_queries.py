"""What is read from the PostgreSQL journal. Every function runs in a reader's thread, with that thread's connection."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final, TypeVar

from psycopg import errors

from services.state_engine.journal.facts import UNREADABLE, Head, NumberedFact, SessionLog, Snapshot, Stored
from services.state_engine.journal.postgres_server import Connection
from services.state_engine.journal.rows import (
    SESSION_COLUMNS,
    STIMULUS_COLUMNS,
    TABLES,
    TURN_COLUMNS,
    Row,
    Table,
    in_order,
    log_of,
    session_of,
)

_Built = TypeVar("_Built")

_KEY: Final = "SELECT session_key FROM sessions WHERE session_id = %s"
TURNS: Final = f"SELECT {', '.join(TURN_COLUMNS)} FROM turns WHERE session_key = ({_KEY}) AND turn_id = ANY(%s)"
STIMULI: Final = (
    f"SELECT {', '.join(STIMULUS_COLUMNS)} FROM stimuli WHERE session_key = ({_KEY}) AND stimulus_id = ANY(%s)"
)
_TURNS_BEFORE: Final = (
    f"SELECT sequence, {', '.join(TURN_COLUMNS)} FROM turns WHERE session_key = ({_KEY}) AND sequence < %s "
    "ORDER BY sequence DESC LIMIT %s"
)
_SINCE: Final = [
    (
        table,
        f"SELECT sequence, {', '.join(table.columns)} FROM {table.name} WHERE session_key = %s AND sequence > %s ORDER BY sequence",
    )
    for table in TABLES.values()
]
_SNAPSHOT: Final = "SELECT revision, content FROM snapshots WHERE session_key = %s"
_SESSION: Final = (
    f"SELECT session_key, text, {', '.join(SESSION_COLUMNS)} FROM sessions "
    "JOIN temperaments ON digest = temperament_digest WHERE session_id = %s"
)
# The last fact of each kind, which an index finds: nothing was recorded after it, unless a clock was set back.
_UNTOUCHED: Final = (
    "SELECT session_id FROM sessions WHERE created_ns < %(moment)s AND "
    + " AND ".join(
        f"COALESCE((SELECT recorded_ns FROM {table.name} AS facts WHERE facts.session_key = sessions.session_key "
        "ORDER BY sequence DESC LIMIT 1), 0) < %(moment)s"
        for table in TABLES.values()
    )
    + " LIMIT %(limit)s"
)


def load(connection: Connection, session_id: str) -> SessionLog | None:
    """Return all facts of a session, or None if there is no such session."""
    with connection.transaction():
        row = connection.execute(_SESSION, (session_id,)).fetchone()
        if row is None:
            return None
        found = _facts(connection, row[0], 1)
    return log_of(row[0], session_of(row[1:]), found)


def rebuild(connection: Connection, session_id: str, build: Callable[[Stored], _Built]) -> _Built | None:
    """Have something built from a session, or return None if there is no such session."""
    with connection.transaction():
        row = connection.execute(_SESSION, (session_id,)).fetchone()
        if row is None:
            return None
        key = int(row[0])
        snapshot = _snapshot(connection, key)

    def after(revision: int) -> Iterator[NumberedFact]:
        # Outside of a transaction while they are gone over: the server ends one that does nothing for long. Rows are never changed, and
        # those that come meanwhile are caught up with.
        with connection.transaction(), connection.pipeline():
            cursors = [(table, connection.execute(select, (key, revision))) for table, select in _SINCE]
        return in_order(cursors)

    return build(Stored(session_of(row[1:]), key, snapshot, after))


def since(connection: Connection, session_id: str, head: Head) -> list[NumberedFact] | None:
    """Return what was recorded after a head, in order, or None if the session with its key is gone."""
    with connection.transaction():
        row = connection.execute(_KEY, (session_id,)).fetchone()
        if row is None or row[0] != head.key:
            return None
        found = _facts(connection, *head)
    return [*in_order(found)]


def by_ids(connection: Connection, session_id: str, select: str, ids: Sequence[str]) -> list[Row]:
    """Return those rows of a selection that exist, in the order of their ids."""
    # The id is the first column of both selections.
    found = {row[0]: row for row in connection.execute(select, (session_id, list(ids)))}
    return [found[one] for one in ids if one in found]


def turns_before(connection: Connection, session_id: str, sequence: int | None, limit: int) -> list[Row]:
    """Return the latest turns before a number, latest first."""
    before = 2**63 - 1 if sequence is None else sequence
    return connection.execute(_TURNS_BEFORE, (session_id, before, limit)).fetchall()


def untouched_since(connection: Connection, moment_ns: int, limit: int) -> list[str]:
    """Return sessions of which nothing was recorded at a moment or later."""
    rows = connection.execute(_UNTOUCHED, {"moment": moment_ns, "limit": limit})
    return [session_id for (session_id,) in rows]


def _snapshot(connection: Connection, key: int) -> Snapshot | None:
    try:
        with connection.transaction():
            # In binary: as text it has twice the size.
            kept = connection.execute(_SNAPSHOT, (key,), binary=True).fetchone()
    except (errors.DataCorrupted, errors.IndexCorrupted):
        # The log may be whole, and it is enough.
        return UNREADABLE
    return None if kept is None else Snapshot(*kept)


def _facts(connection: Connection, key: int, revision: int) -> list[tuple[Table, list[Row]]]:
    with connection.pipeline():
        cursors = [(table, connection.execute(select, (key, revision))) for table, select in _SINCE]
    return [(table, cursor.fetchall()) for table, cursor in cursors]
