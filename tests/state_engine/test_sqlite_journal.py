"""The SQLite journal: shared commits, faults of the file, privacy, deletion to the last byte."""

from __future__ import annotations

import asyncio
import sqlite3
import stat
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from services.state_engine.causes import Event, Reading
from services.state_engine.errors import JournalCorruptError, JournalUnavailableError
from services.state_engine.journal import sqlite_file
from services.state_engine.journal.facts import Fact, StimulusFact
from services.state_engine.journal.port import JournalOpenError
from services.state_engine.journal.sqlite import SqliteJournal
from tests.state_engine.parts import SetClock
from tests.state_engine.stores import READING, SESSION, ignore, turn


@asynccontextmanager
async def opened(
    path: Path, *, capacity: int = 1_000, connect: sqlite_file.Connect = sqlite_file.connect
) -> AsyncIterator[SqliteJournal]:
    journal = SqliteJournal(path, SetClock(), capacity=capacity, connect=connect)
    await journal.start()
    try:
        yield journal
    finally:
        await journal.stop()


async def test_callers_share_commits(journal_path: Path) -> None:
    statements: list[str] = []

    def traced(path: Path) -> sqlite3.Connection:
        connection = sqlite_file.connect(path)
        connection.set_trace_callback(statements.append)
        return connection

    async with opened(journal_path, connect=traced) as journal:
        await journal.append("s", [SESSION], ignore)
        statements.clear()
        revisions = await asyncio.gather(*(journal.append("s", [turn(number)], ignore) for number in range(300)))

    assert sorted(revisions) == list(range(2, 302))
    assert statements.count("COMMIT") < 100


class Faulty(sqlite3.Connection):
    """Fails one kind of statement, as a full disk would, while it is told to."""

    failing = ""
    failed = 0

    def execute(self, sql: str, parameters: Sequence[object] = (), /) -> sqlite3.Cursor:  # type: ignore[override]
        if Faulty.failing and sql.startswith(Faulty.failing):
            Faulty.failed += 1
            raise sqlite3.OperationalError("database or disk is full")
        return super().execute(sql, parameters)


@pytest.fixture
def faulty() -> type[Faulty]:
    Faulty.failing, Faulty.failed = "", 0
    return Faulty


def connect_faulty(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, factory=Faulty)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA foreign_keys = ON")
    return connection


@pytest.mark.parametrize("statement", ["BEGIN IMMEDIATE", "INSERT INTO turns", "INSERT INTO stimuli", "COMMIT"])
async def test_a_commit_that_fails_fails_all_its_callers_and_leaves_nothing(
    journal_path: Path, faulty: type[Faulty], statement: str
) -> None:
    async with opened(journal_path, connect=connect_faulty) as journal:
        await journal.append("s", [SESSION], ignore)
        faulty.failing = statement
        told: list[int | None] = []
        outcomes = await asyncio.gather(
            *(
                journal.append("s", [turn(n), StimulusFact(f"e{n}", f"t{n}", 1, 2, Event("x"))], told.append)
                for n in range(5)
            ),
            return_exceptions=True,
        )
        faulty.failing = ""
        empty = await journal.load("s")
        assert await journal.append("s", [turn(9)], ignore) == 2

    assert faulty.failed > 0
    assert all(isinstance(outcome, JournalUnavailableError) and outcome.retry_after for outcome in outcomes)
    assert told == [None] * 5
    assert empty is not None
    assert not empty.facts


async def test_files_are_private_and_only_one_engine_may_hold_them(journal_path: Path) -> None:
    async with opened(journal_path) as journal:
        await journal.append("s", [SESSION], ignore)
        modes = {entry.name: stat.S_IMODE(entry.stat().st_mode) for entry in journal_path.parent.iterdir()}

        assert stat.S_IMODE(journal_path.parent.stat().st_mode) == 0o700
        assert {"journal.sqlite3", "journal.sqlite3-wal", "journal.sqlite3-shm"} <= set(modes)
        assert set(modes.values()) == {0o600}
        with pytest.raises(JournalOpenError, match="another process holds"):
            await SqliteJournal(journal_path, SetClock(), capacity=1).start()


async def test_commits_are_synced_and_what_is_deleted_is_overwritten(journal_path: Path) -> None:
    async with opened(journal_path):
        connection = sqlite_file.connect(journal_path)
        pragmas = {
            name: connection.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("journal_mode", "synchronous", "foreign_keys", "secure_delete")
        }
        connection.close()

    assert pragmas == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "secure_delete": 1}


def test_a_file_that_is_no_journal_is_refused_and_left_alone(journal_path: Path) -> None:
    journal_path.parent.mkdir()
    journal_path.write_bytes(b"somebody's letters " * 100)

    async def start() -> None:
        await SqliteJournal(journal_path, SetClock(), capacity=1).start()

    with pytest.raises(JournalOpenError, match="cannot be opened"):
        asyncio.run(start())
    assert journal_path.read_bytes() == b"somebody's letters " * 100


@pytest.mark.parametrize("url", ["", "sqlite:///", "mysql://host/db", "/var/journal"])
def test_a_url_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(JournalOpenError, match="journal_url"):
        sqlite_file.path_of(url)


def test_urls_are_relative_or_absolute() -> None:
    assert sqlite_file.path_of("sqlite:///var/j") == Path("var/j")
    assert sqlite_file.path_of("sqlite:////var/j") == Path("/var/j")


CANARY = "canary-4711-in-a-coal-mine"


def whispered(number: int) -> list[Fact]:
    """Return facts that hold the canary in every text that people or heads can write."""
    said = replace(turn(number), text=f"{CANARY} " * 200, turn_id=f"{CANARY}-{number}")
    cause = READING.cause
    assert isinstance(cause, Reading)
    felt = replace(
        READING, stimulus_id=f"{CANARY}-{number}", turn_id=said.turn_id, cause=replace(cause, reasoning=CANARY)
    )
    return [said, felt]


def damage(path: Path, text: bytes) -> int:
    """Write over the headers of the pages that hold a text, and return how many those are."""
    content, damaged = bytearray(path.read_bytes()), 0
    for start in range(0, len(content), 4096):
        if text in content[start : start + 4096]:
            header = start + (100 if start == 0 else 0)
            content[header : header + 100] = b"\xff" * 100
            damaged += 1
    path.write_bytes(content)
    return damaged


def files_with(folder: Path, text: str) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir() if text.encode() in entry.read_bytes())


async def test_what_is_deleted_is_in_no_byte_of_the_files(journal_path: Path) -> None:
    secret = replace(SESSION, session_id=CANARY, temperament_digest="own", temperament_text=f"description = '{CANARY}'")
    async with opened(journal_path) as journal:
        await journal.append("s", [SESSION, turn(1)], ignore)
        await journal.append(CANARY, [secret], ignore)
        for number in range(200):
            await journal.append(CANARY, whispered(number), ignore)
            await journal.append("s", [turn(number + 2)], ignore)
        before = files_with(journal_path.parent, CANARY)
        assert await journal.delete(CANARY, ignore) == 401
        while_open = files_with(journal_path.parent, CANARY)
        log = await journal.load("s")

    assert set(before) & {"journal.sqlite3", "journal.sqlite3-wal"}
    assert while_open == files_with(journal_path.parent, CANARY) == []
    assert log is not None
    assert len(log.facts) == 201


async def test_a_reader_of_long_standing_holds_up_the_cleaning_and_not_the_deletion(
    journal_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_file, "BUSY_TIMEOUT_S", 0.05)
    async with opened(journal_path) as journal:
        await journal.append("s", [SESSION, *whispered(1)], ignore)
        reader = sqlite_file.connect(journal_path)
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM turns").fetchone()
        told: list[int | None] = []
        with pytest.raises(JournalUnavailableError, match="cleaned of what was deleted"):
            await journal.delete("s", told.append)
        gone = await journal.load("s")
        still = files_with(journal_path.parent, CANARY)
        reader.close()
        assert await journal.delete("s", told.append) == 0
        assert files_with(journal_path.parent, CANARY) == []

    assert gone is None
    assert still == ["journal.sqlite3-wal"]


async def test_a_damaged_page_is_refused_clearly_and_the_rest_goes_on(journal_path: Path) -> None:
    other = replace(SESSION, session_id="other")
    async with opened(journal_path) as journal:
        await journal.append("s", [SESSION, *(turn(number) for number in range(500))], ignore)
        await journal.append("other", [other], ignore)
    assert damage(journal_path, b"words 250 ") > 0

    async with opened(journal_path) as journal:
        with pytest.raises(JournalCorruptError, match="damaged"):
            await journal.load("s")
        assert await journal.load("other") is not None


async def test_a_damaged_schema_is_refused_at_the_start(journal_path: Path) -> None:
    async with opened(journal_path) as journal:
        await journal.append("s", [SESSION], ignore)
    assert damage(journal_path, b"CREATE TABLE") > 0

    with pytest.raises(JournalOpenError, match="malformed"):
        await SqliteJournal(journal_path, SetClock(), capacity=1).start()
