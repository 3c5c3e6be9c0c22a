"""The PostgreSQL journal: shared commits, a server that goes away and comes back, several engines that write at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace

import psycopg
import pytest

from services.state_engine.errors import JournalUnavailableError, SessionNotFoundError
from services.state_engine.journal.backoff import LONGEST_S, Backoff
from services.state_engine.journal.facts import Head, StimulusFact, TurnFact
from services.state_engine.journal.port import JournalConflictError, JournalOpenError
from services.state_engine.journal.postgres import PostgresJournal
from services.state_engine.journal.postgres_server import Server
from tests.state_engine.parts import SetClock
from tests.state_engine.postgres import PostgresServer
from tests.state_engine.stores import EVENT, READING, SESSION, ignore, turn

WITHIN_S = 20.0


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[PostgresJournal]:
    journal = PostgresJournal(url, SetClock(), capacity=10_000)
    await journal.start()
    try:
        yield journal
    finally:
        await journal.stop()


@pytest.fixture
def url(postgres: PostgresServer) -> str:
    return postgres.new_database()


@pytest.fixture
def fragile() -> Iterator[PostgresServer]:
    """A server for one test, which may stop it."""
    server = PostgresServer()
    yield server
    server.remove()


def execute(url: str, statement: str) -> list[tuple[object, ...]]:
    with psycopg.connect(url, autocommit=True) as connection:
        cursor = connection.execute(statement)
        return cursor.fetchall() if cursor.description else []


async def until(succeeds: Callable[[], Awaitable[object]]) -> None:
    """Call until it is not refused as unavailable any more."""
    async with asyncio.timeout(WITHIN_S):
        while True:
            try:
                await succeeds()
                break
            except JournalUnavailableError:
                await asyncio.sleep(0.05)


async def until_waiting(url: str) -> None:
    """Wait until a transaction waits for another one."""
    async with asyncio.timeout(WITHIN_S):
        while not execute(url, "SELECT 1 FROM pg_locks WHERE NOT granted"):  # noqa: ASYNC110  # the server tells nobody
            await asyncio.sleep(0.01)


async def test_callers_share_commits(url: str) -> None:
    async with opened(url) as journal:
        await journal.append("s", [SESSION], ignore)
        before = execute(url, "SELECT pg_current_xact_id()::text::bigint")[0][0]
        revisions = await asyncio.gather(*(journal.append("s", [turn(number)], ignore) for number in range(300)))
        after = execute(url, "SELECT pg_current_xact_id()::text::bigint")[0][0]

    assert sorted(revisions) == list(range(2, 302))
    assert isinstance(before, int)
    assert isinstance(after, int)
    assert after - before < 100


async def test_an_engine_learns_what_another_has_written(url: str) -> None:
    async with opened(url) as one, opened(url) as other:
        told: asyncio.Queue[str | None] = asyncio.Queue()
        assert other.others is not None
        other.others.follow(told.put_nowait)
        assert await other.others.head("s") is None
        await one.append("s", [SESSION, turn(1)], ignore)
        head = await other.others.head("s")
        assert head is not None
        assert head.revision == 2
        assert await asyncio.wait_for(told.get(), WITHIN_S) == "s"

        await one.append("s", [READING, EVENT], ignore)
        assert await other.append("s", [turn(2)], ignore, head.key) == 5
        assert await other.others.since("s", head) == [(3, READING), (4, EVENT), (5, turn(2))]
        assert await asyncio.wait_for(told.get(), WITHIN_S) == "s"

        await one.delete("s", ignore)
        assert await asyncio.wait_for(told.get(), WITHIN_S) == "s"
        assert await other.others.head("s") is None
        assert await other.others.since("s", head) is None
        with pytest.raises(SessionNotFoundError):
            await other.append("s", [turn(3)], ignore, head.key)
        await one.append("s", [SESSION], ignore)
        again = await other.others.head("s")
        assert again is not None
        assert (again.revision, again.key != head.key) == (1, True)
        assert await other.others.since("s", Head(head.key, 1)) is None
        # What an engine writes itself it is not told.
        assert await asyncio.wait_for(told.get(), WITHIN_S) == "s"
        assert told.empty()


async def test_engines_that_write_at_once_leave_no_gap_and_nothing_twice(url: str) -> None:
    sessions = [f"s{number}" for number in range(6)]
    async with opened(url) as one, opened(url) as other, opened(url) as third:
        engines = (one, other, third)
        # All open all sessions, in different orders: one of each succeeds.
        openings = [
            engine.append(name, [replace(SESSION, session_id=name, temperament_digest=f"{index % 2}")], ignore)
            for index, engine in enumerate(engines)
            for name in (sessions if index % 2 else reversed(sessions))
        ]
        outcomes = await asyncio.gather(*openings, return_exceptions=True)
        assert sorted(type(outcome).__name__ for outcome in outcomes) == ["JournalConflictError"] * 12 + ["int"] * 6
        appends = [
            engine.append(name, [turn(number * 3 + index)], ignore)
            for number in range(100)
            for index, engine in enumerate(engines)
            for name in (sessions if index % 2 else reversed(sessions))
        ]
        # And all want the same hundred turns besides.
        contested = [
            engine.append(name, [turn(1_000 + number)], ignore)
            for number in range(100)
            for engine in engines
            for name in sessions
        ]
        revisions = await asyncio.gather(*appends)
        won = await asyncio.gather(*contested, return_exceptions=True)
        logs = [await engine.load(name) for engine in engines for name in sessions]

    assert len(revisions) == 1_800
    assert sum(isinstance(outcome, int) for outcome in won) == 600
    assert sum(isinstance(outcome, JournalConflictError) for outcome in won) == 1_200
    for log in logs:
        assert log is not None
        assert log.revision == 1 + len(log.facts) == 401
    # Whatever was committed later has the higher number, so that nobody who read up to a number can have missed one below it.
    numbers = execute(
        url, "SELECT sequence, row_number() OVER (PARTITION BY session_key ORDER BY sequence) + 1 FROM turns"
    )
    assert all(sequence == place for sequence, place in numbers)


async def test_a_server_that_stops_is_said_to_be_away_and_found_again(fragile: PostgresServer) -> None:
    async with opened(fragile.new_database()) as journal:
        assert journal.others is not None
        told: asyncio.Queue[str | None] = asyncio.Queue()
        journal.others.follow(told.put_nowait)
        others = journal.others
        await journal.append("s", [SESSION, turn(0)], ignore)
        await journal.load("s")
        # Some of these are on their way when the server dies.
        appends = [
            journal.append("s", [turn(number), replace(EVENT, stimulus_id=f"e{number}")], ignore)
            for number in range(1, 2_000)
        ]
        await asyncio.wait(appends, return_when=asyncio.FIRST_COMPLETED)
        await asyncio.to_thread(fragile.stop)
        outcomes = await asyncio.gather(*appends, return_exceptions=True)
        for call in (
            lambda: journal.load("s"),
            lambda: others.head("s"),
            lambda: journal.append("s", [turn(9_000)], ignore),
        ):
            with pytest.raises(JournalUnavailableError) as caught:
                await call()
            assert caught.value.retry_after

        await asyncio.to_thread(fragile.start)
        await until(lambda: journal.append("s", [turn(9_001)], ignore))
        await until(lambda: others.head("s"))
        log = await journal.load("s")
        # Nobody knows what was written while it did not listen.
        assert await asyncio.wait_for(told.get(), WITHIN_S) is None

    assert log is not None
    found = {fact.turn_id for fact in log.facts if isinstance(fact, TurnFact)}
    felt = {fact.stimulus_id for fact in log.facts if isinstance(fact, StimulusFact)}
    acknowledged = {number for number, outcome in enumerate(outcomes, 1) if isinstance(outcome, int)}
    assert 0 < len(acknowledged) < 1_999
    assert all(isinstance(outcome, int | JournalUnavailableError) for outcome in outcomes)
    assert {f"t{number}" for number in acknowledged} | {"t0", "t9001"} <= found
    # The two facts of an append stand together or not at all; and the log has no gap.
    assert {name.replace("t", "e") for name in found - {"t0", "t9001"}} == felt
    assert log.revision == 1 + len(log.facts)


async def test_a_connection_that_died_while_nobody_used_it_costs_nobody_a_refusal(url: str) -> None:
    async with opened(url) as journal:
        await journal.append("s", [SESSION], ignore)
        await journal.load("s")
        execute(
            url, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'limbic-state-engine'"
        )

        assert await journal.append("s", [turn(1)], ignore) == 2
        log = await journal.load("s")

    assert log is not None
    assert log.revision == 2


async def test_two_that_wait_for_each_other_are_both_written(url: str) -> None:
    async with opened(url) as journal:
        await journal.append("s", [SESSION], ignore)
        key = execute(url, "SELECT session_key FROM sessions")[0][0]
        async with await psycopg.AsyncConnection.connect(url) as other:
            # Someone else's transaction has the turn and then wants the head, which the journal holds while it waits for the turn.
            await other.execute("INSERT INTO turns VALUES (%s, 1000, 't1', '', 1, 1, 1, '', 0)", (key,))
            append = journal.append("s", [turn(1)], ignore)
            await until_waiting(url)
            # The server breaks one of the two off, and which one is its own choice.
            with suppress(psycopg.errors.DeadlockDetected):
                await other.execute("SELECT 1 FROM heads FOR UPDATE")
            await other.rollback()
        assert await append == 2


async def test_commits_are_durable_even_where_the_server_is_told_otherwise(url: str) -> None:
    name = execute(url, "SELECT current_database()")[0][0]
    execute(url, f"ALTER DATABASE {name} SET synchronous_commit = off")
    with Server(url).connect() as connection:
        row = connection.execute("SHOW synchronous_commit").fetchone()
    execute(url, f"ALTER DATABASE {name} SET synchronous_commit = remote_apply")
    with Server(url).connect() as connection:
        stricter = connection.execute("SHOW synchronous_commit").fetchone()

    assert (row, stricter) == (("on",), ("remote_apply",))


async def test_what_is_deleted_is_in_no_data_file_once_the_tables_are_rewritten(fragile: PostgresServer) -> None:
    url, canary = fragile.new_database(), "canary-4711-in-a-coal-mine"

    def files_with_it() -> list[str]:
        # Not the server's log of changes (pg_wal), which holds it until it is recycled.
        found = (fragile.data / "base").rglob("*")
        return [path.name for path in found if path.is_file() and canary.encode() in path.read_bytes()]

    async with opened(url) as journal:
        secret = replace(SESSION, session_id=canary, temperament_digest="own", temperament_text=canary)
        said = [replace(turn(number), turn_id=f"{canary}{number}", text=f"{canary} " * 100) for number in range(200)]
        await journal.append("s", [SESSION, turn(1)], ignore)
        await journal.append(canary, [secret, *said], ignore)
        execute(url, "CHECKPOINT")
        assert files_with_it() != []
        assert await journal.delete(canary, ignore) == 201
        log = await journal.load("s")
    # Stopping has waited for the vacuum.
    vacuumed = execute(url, "SELECT vacuum_count > 0 FROM pg_stat_user_tables WHERE relname = 'turns'")
    for table in ("turns", "sessions", "temperaments", "heads"):
        execute(url, f"VACUUM FULL {table}")
    execute(url, "CHECKPOINT")

    assert vacuumed == [(True,)]
    assert files_with_it() == []
    assert log is not None


@pytest.mark.parametrize("broken", ["postgresql://[host/db", "postgresql://host/db?nonsense=1"])
def test_a_url_that_is_none_is_refused_without_repeating_it(broken: str) -> None:
    with pytest.raises(JournalOpenError, match="journal_url") as caught:
        PostgresJournal(broken.replace("//", "//user:secret@"), SetClock(), capacity=1)

    assert "secret" not in str(caught.value)


async def test_a_server_that_is_not_there_is_refused_at_the_start(postgres: PostgresServer) -> None:
    for url, says in (
        (f"postgresql://limbic:secret@/limbic?host={postgres.folder / 'nowhere'}", "No such file"),
        (postgres.url("no_such_database").replace("limbic@", "limbic:secret@"), "does not exist"),
    ):
        with pytest.raises(JournalOpenError, match=says) as caught:
            await PostgresJournal(url, SetClock(), capacity=1).start()
        assert "secret" not in str(caught.value)


def test_waits_grow_are_spread_and_end_with_success() -> None:
    clock = SetClock(0)
    waits: list[list[float]] = []
    for _ in range(200):
        backoff = Backoff(clock.monotonic)
        assert backoff.left_s == 0.0
        waits.append([])
        for _ in range(12):
            backoff.failed()
            waits[-1].append(backoff.left_s)
            clock.pass_s(backoff.left_s + 1e-6)
        assert backoff.left_s == 0.0
        backoff.failed()
        backoff.succeeded()
        assert backoff.left_s == 0.0
    longest = [max(column) for column in zip(*waits, strict=True)]

    assert 0.0 < longest[0] <= 0.1 < longest[3]
    assert LONGEST_S / 2 < max(longest) <= LONGEST_S
    assert min(column[-1] for column in waits) < LONGEST_S / 4
