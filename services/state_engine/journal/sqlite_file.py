"""Opens the journal's SQLite file: private to the user, durable at each commit, and held by one engine at a time."""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Final

from services.state_engine.errors import JournalCorruptError, JournalUnavailableError
from services.state_engine.journal.port import JournalOpenError
from services.state_engine.metrics import FAILURES

Connect = Callable[[Path], sqlite3.Connection]

BUSY_TIMEOUT_S: Final = 5.0
"""For readers outside of the engine (a backup, a shell) that hold the file for a moment."""

OLDEST_SQLITE: Final = (3, 37, 0)
"""The first with STRICT tables."""


class FileLock:
    """Keeps a second engine off the file: each holds its sessions' states in memory and would not see the other's facts.

    The lock is the operating system's, on a file beside the journal; it ends with the process, however that ends.

    Raises:
        JournalOpenError: another process holds it.
    """

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path.with_name(path.name + ".lock"), os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._descriptor)
            raise JournalOpenError(
                f"another process holds the journal {path}; one engine may use it at a time"
            ) from None

    def release(self) -> None:
        """Let the next one in."""
        os.close(self._descriptor)


def prepare(path: Path) -> None:
    """Make the directory (0700, if it is not there) and the file (0600); SQLite gives its -wal and -shm the same mode.

    Raises:
        OSError: it cannot be made.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    os.close(os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
    path.chmod(0o600)


def connect(path: Path) -> sqlite3.Connection:
    """Open a connection in autocommit mode, that one thread uses at a time.

    Raises:
        sqlite3.Error: the file is no database, or cannot be opened.
    """
    connection = sqlite3.connect(
        path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False, cached_statements=512
    )
    connection.execute("PRAGMA journal_mode = WAL")
    # With WAL, only FULL syncs at each commit; NORMAL may lose the last ones when the power goes.
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")
    # What is deleted is overwritten: it was somebody's words.
    connection.execute("PRAGMA secure_delete = ON")
    # So were the pages that a large transaction sets aside; they must not go to a file elsewhere.
    connection.execute("PRAGMA temp_store = MEMORY")
    return connection


def error_name(error: sqlite3.Error) -> str:
    """Return what went wrong as a name, such as SQLITE_FULL: the message may quote values, which are private."""
    return str(getattr(error, "sqlite_errorname", type(error).__name__))


def failure(error: sqlite3.Error, action: str) -> JournalCorruptError | JournalUnavailableError:
    """Return what callers are told of an error; `action` is what could not be done."""
    if is_corrupt(error):
        FAILURES.labels("corrupt").inc()
        return JournalCorruptError()
    FAILURES.labels(action).inc()
    return JournalUnavailableError(action)


def is_corrupt(error: sqlite3.Error) -> bool:
    """Whether an error says that what is in the file is damaged."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def path_of(url: str) -> Path:
    """Return the file of a journal URL: `sqlite:///relative` or `sqlite:////absolute`.

    Raises:
        JournalOpenError: another scheme, or no path.
    """
    prefix = "sqlite:///"
    if not url.startswith(prefix) or len(url) == len(prefix):
        raise JournalOpenError(
            "state.journal_url: must be sqlite:///PATH (relative), sqlite:////PATH (absolute) or postgresql://…"
        )
    return Path(url.removeprefix(prefix))
