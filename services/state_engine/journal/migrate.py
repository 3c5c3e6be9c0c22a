"""Brings a journal's schema up to date: numbered scripts, forward only, each in one transaction with its number."""

from __future__ import annotations

import sqlite3
from importlib.resources import files

from services.state_engine.journal.port import JournalOpenError

_VERSION_TABLE = (
    "CREATE TABLE IF NOT EXISTS schema_version (version INTEGER PRIMARY KEY, applied_ns INTEGER NOT NULL) STRICT"
)


def migrations() -> list[tuple[int, str]]:
    """Return the number and the text of each script, in order."""
    folder = files("services.state_engine.journal").joinpath("migrations")
    scripts = sorted((entry for entry in folder.iterdir() if entry.name.endswith(".sql")), key=lambda entry: entry.name)
    return [(int(script.name.partition("_")[0]), script.read_text(encoding="utf-8")) for script in scripts]


def migrate(connection: sqlite3.Connection, now_ns: int) -> int:
    """Apply the scripts that are missing and return the version reached. The connection is in autocommit mode.

    Raises:
        JournalOpenError: the journal was written by a later version of the program.
        sqlite3.Error: a script failed; the schema is then as it was before that script.
    """
    connection.execute(_VERSION_TABLE)
    (version,) = connection.execute("SELECT COALESCE(MAX(version), 0) FROM schema_version").fetchone()
    known = migrations()
    newest = known[-1][0]
    if version > newest:
        raise JournalOpenError(
            f"the journal has schema version {version} and this program knows up to {newest}; run the version that wrote it"
        )
    for number, script in known:
        if number <= version:
            continue
        stamp = f"INSERT INTO schema_version VALUES ({number}, {now_ns})"
        try:
            connection.executescript(f"BEGIN IMMEDIATE;\n{script}\n{stamp};\nCOMMIT;")
        finally:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
    return newest
