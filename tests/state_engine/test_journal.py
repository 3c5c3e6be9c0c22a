"""The SQLite journal: whole facts to the last bit, durable groups, faults that hurt nobody else, migrations, privacy."""

from __future__ import annotations

import asyncio
import sqlite3
import stat
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from services.state_engine.causes import AxisUncertainty, Emotions, Event, HeadIdentity, Reading
from services.state_engine.errors import JournalBusyError, JournalUnavailableError, SessionNotFoundError
from services.state_engine.journal import sqlite_file
from services.state_engine.journal.facts import Fact, Role, SessionFact, StimulusFact, TurnFact
from services.state_engine.journal.migrate import migrations
from services.state_engine.journal.port import JournalConflictError, JournalOpenError
from services.state_engine.journal.sqlite import SqliteJournal
from tests.state_engine.parts import SetClock

TEXT = "description = 'a temperament'"
SESSION = SessionFact("s", "default", "digest", TEXT, True, 17)
READING = StimulusFact(
    "reading",
    "t1",
    1,
    2,
    Reading(
        valence=-1 / 3,
        intimacy=0.1 + 0.2,
        tension=5e-324,
        confidence=0.7,
        uncertainty=AxisUncertainty(0.1, 0.2, 0.30000000000000004),
        emotions=Emotions(("grief", "joy"), (2 / 3, 1e-17), (True, False)),
        head=HeadIdentity("head", "Q4_0", "2"),
        truncated=True,
        reasoning="because",
        latency_ns=123,
    ),
)
EVENT = StimulusFact("event", "t1", 1, 3, Event("reward", 0.1))


def turn(number: int, parent: str = "") -> TurnFact:
    return TurnFact(
        f"t{number}", parent, Role.ASSISTANT, 100 + number, 200 + number, f"words {number} ✓", number % 2 == 0
    )


def ignore(revision: int | None) -> None:
    """Nobody has to be told."""


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


async def test_facts_come_back_to_the_last_bit_after_reopening(journal_path: Path) -> None:
    facts: list[Fact] = [turn(1), READING, EVENT, turn(2, "t1")]
    async with opened(journal_path) as journal:
        assert await journal.append("s", [SESSION], ignore) == 1
        assert await journal.append("s", facts, ignore) == 5

    async with opened(journal_path) as journal:
        log = await journal.load("s")

        assert log is not None
        assert (log.session, list(log.facts), log.revision) == (SESSION, facts, 5)
        assert await journal.append("s", [turn(3, "t2")], ignore) == 6
        assert await journal.turns("s", ["t3", "t1", "nowhere"]) == [turn(3, "t2"), turn(1)]
        assert await journal.stimuli("s", ["event", "reading"]) == [EVENT, READING]
        assert [row.sequence for row in await journal.turns_before("s", 6, 10)] == [2, 5]
        assert [row.turn for row in await journal.turns_before("s", None, 2)] == [turn(2, "t1"), turn(3, "t2")]
        assert await journal.load("another") is None


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


async def test_a_fact_that_does_not_fit_hurts_no_neighbour(journal_path: Path) -> None:
    async with opened(journal_path) as journal:
        await journal.append("s", [SESSION], ignore)
        await journal.append("s", [turn(0)], ignore)
        told: list[int | None] = []
        outcomes = await asyncio.gather(
            journal.append("s", [turn(1), EVENT], told.append),
            journal.append("s", [turn(0)], told.append),  # taken
            journal.append("nowhere", [turn(1)], told.append),  # no such session
            journal.append("s", [turn(2), EVENT], told.append),  # half of it taken: none of it is recorded
            journal.append("s", [turn(3)], told.append),
            return_exceptions=True,
        )
        log = await journal.load("s")

    assert [outcome if isinstance(outcome, int) else type(outcome) for outcome in outcomes] == [
        4,
        JournalConflictError,
        SessionNotFoundError,
        JournalConflictError,
        5,
    ]
    assert told == [4, None, None, None, 5]
    assert log is not None
    assert (list(log.facts), log.revision) == ([turn(0), turn(1), EVENT, turn(3)], 5)


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


async def test_a_full_queue_refuses_at_once_and_takes_more_when_it_has_room(journal_path: Path) -> None:
    async with opened(journal_path, capacity=2) as journal:
        first = journal.append("s", [SESSION], ignore)
        second = journal.append("s", [turn(1)], ignore)
        with pytest.raises(JournalBusyError):
            journal.append("s", [turn(2)], ignore)
        await asyncio.gather(first, second)

        assert await journal.append("s", [turn(2)], ignore) == 3


async def test_what_a_caller_left_behind_is_recorded_and_told(journal_path: Path) -> None:
    told: list[int | None] = []
    async with opened(journal_path) as journal:
        await journal.append("s", [SESSION], ignore)
        journal.append("s", [turn(1)], told.append).cancel()
        await journal.append("s", [turn(2)], told.append)

    assert told == [2, 3]


async def test_stopping_writes_what_waits(journal_path: Path) -> None:
    async with opened(journal_path) as journal:
        waiting = [journal.append("s", [SESSION], ignore), *(journal.append("s", [turn(n)], ignore) for n in range(20))]

    assert [await one for one in waiting] == list(range(1, 22))


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


async def test_the_schema_is_versioned_and_a_later_one_is_refused(journal_path: Path) -> None:
    newest = migrations()[-1][0]
    for _ in range(2):
        async with opened(journal_path):
            pass
    connection = sqlite3.connect(journal_path)
    versions = connection.execute("SELECT version FROM schema_version").fetchall()
    connection.execute("INSERT INTO schema_version VALUES (999, 1)")
    connection.commit()
    connection.close()

    assert versions == [(number,) for number in range(1, newest + 1)]
    with pytest.raises(JournalOpenError, match="schema version 999"):
        await SqliteJournal(journal_path, SetClock(), capacity=1).start()


def test_a_file_that_is_no_journal_is_refused_and_left_alone(journal_path: Path) -> None:
    journal_path.parent.mkdir()
    journal_path.write_bytes(b"somebody's letters " * 100)

    async def start() -> None:
        await SqliteJournal(journal_path, SetClock(), capacity=1).start()

    with pytest.raises(JournalOpenError, match="cannot be opened"):
        asyncio.run(start())
    assert journal_path.read_bytes() == b"somebody's letters " * 100


@pytest.mark.parametrize("url", ["", "sqlite:///", "postgresql://host/db", "/var/journal"])
def test_a_url_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(JournalOpenError, match="journal_url"):
        sqlite_file.path_of(url)


def test_urls_are_relative_or_absolute() -> None:
    assert sqlite_file.path_of("sqlite:///var/j") == Path("var/j")
    assert sqlite_file.path_of("sqlite:////var/j") == Path("/var/j")
