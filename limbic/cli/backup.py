"""`limbic backup`, `limbic restore`: the whole SQLite journal to a file while the engine runs, and back while it does not."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from limbic.cli.engine import settings_or_exit
from limbic.supervision.supervisor import ROOT

_SQLITE = "sqlite:///"
_BESIDE = ("", "-wal", "-shm")
"""The files of one SQLite database, by what stands behind its name."""


def backup(
    output: Annotated[Path, typer.Argument(help="A file to make; it must not be there yet.")],
) -> None:
    """Copy the journal as it is now, while the engine goes on. Exit status 1 if that cannot be done."""
    journal = _journal()
    if not journal.is_file():
        _fail(f"there is no journal at {journal}")
    if output.exists():
        _fail(f"{output} is there already")
    partial = output.with_name(f"{output.name}.partial")
    try:
        # It holds what people said. SQLite writes into an empty file and leaves its mode as it is.
        os.close(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600))
        with contextlib.closing(sqlite3.connect(f"file:{journal}?mode=ro", uri=True)) as connection:
            # One consistent moment, without free pages: what was deleted is not in it.
            connection.execute("VACUUM INTO ?", (str(partial),))
        sessions = _checked(partial)
        _sync(partial)
        partial.replace(output)
    except (OSError, sqlite3.Error) as error:
        _fail(f"the journal cannot be copied: {_reason(error)}")
    finally:
        partial.unlink(missing_ok=True)
    typer.echo(f"{output}: {sessions:,} sessions, {output.stat().st_size:,} bytes")


def restore(
    file: Annotated[Path, typer.Argument(help="What `limbic backup` made.")],
) -> None:
    """Put a copy in the journal's place. What is there now is kept beside it. Exit status 1 if the engine runs or the copy is damaged."""
    journal = _journal()
    try:
        sessions = _checked(file)
    except (OSError, sqlite3.Error) as error:
        _fail(f"{file} is no whole journal: {_reason(error)}; nothing was changed")
    journal.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    incoming = journal.with_name(f"{journal.name}.incoming")
    try:
        with _no_engine(journal):
            os.close(os.open(incoming, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600))
            shutil.copyfile(file, incoming)
            _sync(incoming)
            kept = _set_aside(journal)
            incoming.replace(journal)
    except OSError as error:
        _fail(f"the copy cannot be put in place: {error.strerror}")
    finally:
        incoming.unlink(missing_ok=True)
    typer.echo(f"{journal}: {sessions:,} sessions" + (f"; what was there is now {kept}" if kept else ""))


def _journal() -> Path:
    url = settings_or_exit().state.journal_url
    if not url.startswith(_SQLITE):
        _fail("the journal is kept in PostgreSQL; use pg_dump and pg_restore, or the server's own archiving")
    return ROOT / url.removeprefix(_SQLITE)


def _checked(file: Path) -> int:
    """Return how many sessions a journal holds, after reading all of it.

    Raises:
        OSError: there is no such file.
        sqlite3.Error: it is damaged, or no journal.
    """
    if not file.is_file():
        raise FileNotFoundError(2, "there is no such file", str(file))
    with contextlib.closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as connection:
        (result,) = connection.execute("PRAGMA integrity_check(1)").fetchone()
        if result != "ok":
            raise sqlite3.DatabaseError("a page is damaged")
        connection.execute("SELECT version FROM schema_version LIMIT 1")
        (sessions,) = connection.execute("SELECT count(*) FROM sessions").fetchone()
    return int(sessions)


@contextlib.contextmanager
def _no_engine(journal: Path) -> Iterator[None]:
    """Hold the lock that an engine holds while it runs; end with status 1 if one does."""
    descriptor = os.open(journal.with_name(f"{journal.name}.lock"), os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        _fail("an engine uses the journal; stop it first: `make down`")
    else:
        yield
    finally:
        os.close(descriptor)


def _set_aside(journal: Path) -> Path | None:
    """Rename the journal that is there, with its write-ahead log, and return its new name; None if there is none."""
    if not journal.exists():
        return None
    kept = journal.with_name(f"{journal.name}.before-{datetime.now(UTC):%Y%m%dT%H%M%S}")
    for suffix in _BESIDE:
        old = journal.with_name(journal.name + suffix)
        if old.exists():
            old.rename(kept.with_name(kept.name + suffix))
    return kept


def _sync(file: Path) -> None:
    with file.open("rb") as written:
        os.fsync(written.fileno())


def _reason(error: OSError | sqlite3.Error) -> str:
    # SQLite's own text may quote a value; its name for the error does not.
    return error.strerror or "" if isinstance(error, OSError) else str(getattr(error, "sqlite_errorname", error))


def _fail(text: str) -> NoReturn:
    typer.echo(f"error: {text}", err=True)
    raise typer.Exit(1)
