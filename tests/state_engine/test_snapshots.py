"""Snapshots in a journal: a cache that may be lost, damaged or of another program at any time, and the state is what it was."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from services.state_engine import law, metrics, snapshots
from services.state_engine.causes import Reading
from services.state_engine.commands import AddStimulus, CreateSession, NewStimulus, RecordTurn, RetractStimulus
from services.state_engine.engine import Engine, EngineOptions
from services.state_engine.errors import JournalUnavailableError, SessionNotFoundError
from services.state_engine.journal.facts import UNREADABLE, LaterFact, Role, Snapshot, Stored
from services.state_engine.journal.port import Journal
from services.state_engine.journal.sqlite import SqliteJournal
from services.state_engine.library import TemperamentLibrary
from services.state_engine.session import State
from services.state_engine.snapshot_format import encode
from tests.state_engine.parts import SetClock
from tests.state_engine.stores import EVENT, READING, SESSION, SqliteStore, Store, ignore, turn
from tests.state_engine.stores import opened as opened_store
from tests.state_engine.test_sqlite_journal import damage, files_with

EVERY = 20
LIBRARY = TemperamentLibrary()


@asynccontextmanager
async def engine_on(store: Store, clock: SetClock, every: int = EVERY) -> AsyncIterator[Engine]:
    async with opened_store(store) as journal:
        options = EngineOptions("default", True, cached_sessions=10, facts_per_session=10_000, snapshot_every=every)
        engine = Engine(journal, LIBRARY, clock, options)
        try:
            yield engine
        finally:
            await engine.stop()


async def talk(engine: Engine, clock: SetClock, first: int, count: int, session: str = "s") -> None:
    """Say things and feel them, some of it late, and take something back now and then."""
    for number in range(first, first + count):
        clock.pass_s(61.7)
        felt = NewStimulus("stimuli[0]", f"f{number}", None, Reading(0.01 * (number % 90) - 0.4, 0.3, -0.2, 0.9))
        said = RecordTurn(session, f"t{number}", None, Role.USER, clock.now, "words", cut=False, stimuli=(felt,))
        await engine.recording.turn(said)
        if number % 7 == 6:
            late = NewStimulus("stimulus", f"late{number}", clock.now - 10**11, Reading(0.5, 0.1, 0.2, 0.4))
            await engine.recording.stimulus(AddStimulus(session, f"t{number - 3}", late))
        if number % 11 == 10:
            await engine.recording.retraction(RetractStimulus(session, f"f{number - 2}"))


async def states(engine: Engine, clock: SetClock, session: str = "s") -> list[State]:
    """Return the states at the tip, now and before, and at a turn long past."""
    return [
        await engine.state(session, None, None),
        await engine.state(session, None, clock.now - 10**12),
        await engine.state(session, "t3", None),
    ]


def counted() -> dict[str, float]:
    return {
        sample.labels["outcome"]: sample.value
        for family in metrics.SNAPSHOTS.collect()
        for sample in family.samples
        if sample.name.endswith("_total")
    }


def since(before: dict[str, float]) -> dict[str, float]:
    return {outcome: value - before[outcome] for outcome, value in counted().items() if value != before[outcome]}


async def lived(store: Store, clock: SetClock) -> list[State]:
    """Have a session live through two runs of an engine, with snapshots, and return its states."""
    async with engine_on(store, clock) as engine:
        await engine.opening.create(CreateSession("s", None, None))
        await talk(engine, clock, 0, 40)
    async with engine_on(store, clock) as engine:
        await talk(engine, clock, 40, 30)
        return await states(engine, clock)


def revision_kept(store: Store) -> int:
    ((revision,),) = store.rows("SELECT revision FROM snapshots")
    assert isinstance(revision, int)
    return revision


def facts_in(store: Store) -> int:
    counts = [store.rows(f"SELECT count(*) FROM {name}")[0][0] for name in ("turns", "stimuli", "retractions")]
    return 1 + int(sum(counts))


async def test_a_session_is_read_from_its_snapshot_and_what_came_after(store: Store, clock: SetClock) -> None:
    before = counted()
    expected = await lived(store, clock)
    assert since(before)["used"] == 1
    assert facts_in(store) - EVERY <= revision_kept(store) < facts_in(store)
    async with opened_store(store) as journal:
        found = await read(journal)
        assert found is not None
        assert len(found[1]) == facts_in(store) - revision_kept(store)
    before = counted()
    async with engine_on(store, clock) as engine:
        assert await states(engine, clock) == expected

    assert since(before) == {"used": 1}


async def read(journal: Journal, session: str = "s") -> tuple[Stored, list[LaterFact]] | None:
    """Return a session as it stands in the journal, and what came after its snapshot."""

    def build(stored: Stored) -> tuple[Stored, list[LaterFact]]:
        revision = 1 if stored.snapshot is None else stored.snapshot.revision
        return stored, [fact for _, fact in stored.after(revision)]

    return await journal.rebuild(session, build)


def delete_all(store: Store) -> None:
    store.execute(["DELETE FROM snapshots"])


def flip_a_byte(store: Store) -> None:
    change(store, lambda content: bytes([*content[:1_000], content[1_000] ^ 1, *content[1_001:]]))


def cut_short(store: Store) -> None:
    change(store, lambda content: content[:-1])


def empty(store: Store) -> None:
    change(store, lambda content: b"")


def say_another_revision(store: Store) -> None:
    store.execute(["UPDATE snapshots SET revision = revision + 5"])


def change(store: Store, to: Callable[[bytes], bytes]) -> None:
    ((content,),) = store.rows("SELECT content FROM snapshots")
    literal = to(bytes(content)).hex()
    store.execute([f"UPDATE snapshots SET content = {store.bytes_literal(literal)}"])


@pytest.mark.parametrize("harm", [delete_all, flip_a_byte, cut_short, empty, say_another_revision])
async def test_one_that_is_lost_or_damaged_changes_nothing_is_counted_and_is_made_anew(
    store: Store, clock: SetClock, harm: Callable[[Store], None]
) -> None:
    expected = await lived(store, clock)
    harm(store)
    before = counted()
    with capture_logs() as logs:
        async with engine_on(store, clock) as engine:
            assert await states(engine, clock) == expected

    damaged = harm is not delete_all
    assert since(before) == {"kept": 1.0, **({"damaged": 1.0} if damaged else {})}
    told = [entry["reason"] for entry in logs if "snapshot" in entry["event"]]
    assert told == (["damaged"] if damaged else [])
    assert revision_kept(store) == facts_in(store)
    before = counted()
    async with engine_on(store, clock) as engine:
        assert await states(engine, clock) == expected
    assert since(before) == {"used": 1}


async def test_one_made_under_another_law_is_not_used(
    store: Store, clock: SetClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as another:
        another.setattr("services.state_engine.snapshot_format.law_digest", lambda temperament: "another program's")
        expected = await lived(store, clock)
    before = counted()
    async with engine_on(store, clock) as engine:
        assert await states(engine, clock) == expected

    assert since(before) == {"law": 1, "kept": 1}
    assert law.law_digest(LIBRARY.named("default")) == law.law_digest(LIBRARY.named("default"))


async def test_one_of_another_session_is_not_used(store: Store, clock: SetClock) -> None:
    expected = await lived(store, clock)
    async with engine_on(store, clock) as engine:
        await engine.opening.create(CreateSession("other", None, None))
        await talk(engine, clock, 0, 20, "other")
    store.execute(["UPDATE snapshots SET content = (SELECT content FROM snapshots ORDER BY session_key DESC LIMIT 1)"])
    before = counted()
    async with engine_on(store, clock) as engine:
        state = await engine.state("s", None, expected[0].as_of_ns)

    assert state.levels == expected[0].levels
    assert since(before) == {"session": 1, "kept": 1}


async def test_a_session_that_is_deleted_takes_its_snapshot_with_it(store: Store, clock: SetClock) -> None:
    await lived(store, clock)
    async with engine_on(store, clock) as engine:
        assert await engine.delete("s") == 1 + 70 + 70 + 10 + 6
        assert store.rows("SELECT 1 FROM snapshots") == []
        # Its name may be used again, and nothing of the first is left.
        await engine.opening.create(CreateSession("s", None, None))
        assert (await engine.state("s", None, None)).revision == 1


async def test_ids_that_a_snapshot_held_are_in_no_byte_of_the_files_after_a_deletion(
    journal_path: Path, clock: SetClock
) -> None:
    store, canary = SqliteStore(journal_path), "canary-4711-in-a-coal-mine"
    async with engine_on(store, clock) as engine:
        await engine.opening.create(CreateSession(canary, None, None))
        for number in range(3 * EVERY):
            said = RecordTurn(canary, f"{canary}-{number}", None, Role.USER, clock.now, "words", cut=False, stimuli=())
            await engine.recording.turn(said)
    assert files_with(journal_path.parent, canary)
    assert store.rows("SELECT count(*) FROM snapshots") == [(1,)]
    async with engine_on(store, clock) as engine:
        await engine.delete(canary)
        assert files_with(journal_path.parent, canary) == []


async def test_a_session_exported_and_taken_in_again_needs_no_snapshot(
    store: Store, tmp_path: Path, clock: SetClock
) -> None:
    expected = await lived(store, clock)
    async with engine_on(store, clock) as engine:
        lines = [line async for some in engine.export("s") for line in some]
    assert len(lines) == 1 + facts_in(store)
    async with engine_on(SqliteStore(tmp_path / "other" / "journal.sqlite3"), clock) as engine:

        async def sent() -> AsyncIterator[str]:
            for line in lines:
                yield line

        await engine.take(None, sent())
        assert await states(engine, clock) == expected


async def test_a_snapshot_that_cannot_be_written_costs_nobody_anything(
    store: Store, clock: SetClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(picture: object, session: object, temperament: object) -> bytes:
        raise MemoryError

    before = counted()
    async with engine_on(store, clock) as engine:
        await engine.opening.create(CreateSession("s", None, None))
        monkeypatch.setattr("services.state_engine.snapshots.encode", full)
        with capture_logs() as logs:
            await talk(engine, clock, 0, 40)
            await engine.stop()
        assert since(before)["failed"] >= 1
        assert {entry["error"] for entry in logs if entry["event"] == "no snapshot was made"} == {"MemoryError"}
        monkeypatch.undo()
        # The next try is for when there is more to be gained.
        await talk(engine, clock, 40, EVERY)
    assert since(before)["kept"] >= 1


class FullFor(sqlite3.Connection):
    """Has no room for snapshots."""

    def execute(self, sql: str, parameters: object = (), /) -> sqlite3.Cursor:
        if sql.startswith("INSERT INTO snapshots"):
            raise sqlite3.OperationalError("database or disk is full")
        return super().execute(sql, parameters)  # type: ignore[arg-type]


async def test_a_disk_without_room_for_it_keeps_the_journal_going(journal_path: Path, clock: SetClock) -> None:
    def connect(path: Path) -> sqlite3.Connection:
        connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, factory=FullFor)
        connection.execute("PRAGMA journal_mode = WAL")
        return connection

    journal = SqliteJournal(journal_path, clock, capacity=100, connect=connect)
    await journal.start()
    await journal.append("s", [SESSION], ignore)
    with pytest.raises(JournalUnavailableError):
        await journal.keep("s", Snapshot(1, b"content"))
    assert await journal.append("s", [turn(1)], ignore) == 2
    await journal.stop()


async def test_a_journal_keeps_the_latest_for_the_session_that_it_is_of(store: Store) -> None:
    async with opened_store(store) as journal:
        await journal.append("s", [SESSION, turn(1), READING], ignore)
        first = await read(journal)
        assert first is not None
        assert (first[0].session, first[0].snapshot, first[1]) == (SESSION, None, [turn(1), READING])
        key = first[0].key
        assert await journal.keep("nowhere", Snapshot(3, b"nobody's")) == 0
        assert await journal.keep("s", Snapshot(3, b"another's"), key + 1) == 0
        assert await journal.keep("s", Snapshot(2, b"first"), key) == 1
        assert await journal.keep("s", Snapshot(3, b"second \x00\xff"), key) == 1
        await journal.append("s", [turn(2), EVENT], ignore)
        after = await read(journal)
        whole = await journal.load("s")
        assert await read(journal, "nowhere") is None
        assert await journal.delete("s", ignore) == 5

    assert after is not None
    assert whole is not None
    assert (after[0].snapshot, after[0].key) == (Snapshot(3, b"second \x00\xff"), key)
    assert after[1] == [turn(2), EVENT]
    assert list(whole.facts) == [turn(1), READING, turn(2), EVENT]
    assert store.rows("SELECT 1 FROM snapshots") == []


async def test_a_snapshot_on_damaged_pages_leaves_the_log_readable(journal_path: Path) -> None:
    async with opened_store(SqliteStore(journal_path)) as journal:
        await journal.append("s", [SESSION, turn(1)], ignore)
        await journal.keep("s", Snapshot(2, b"a snapshot of some length " * 10))
    assert damage(journal_path, b"a snapshot of some length ") > 0

    async with opened_store(SqliteStore(journal_path)) as journal:
        found = await read(journal)

    assert found is not None
    assert (found[0].snapshot, found[1]) == (UNREADABLE, [turn(1)])


async def test_one_that_is_made_while_its_session_is_deleted_does_not_reach_the_next_of_its_name(
    store: Store, clock: SetClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, go_on = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    def slow(*arguments: object) -> bytes:
        content = encode(*arguments)  # type: ignore[arg-type]
        loop.call_soon_threadsafe(made.set)
        asyncio.run_coroutine_threadsafe(go_on.wait(), loop).result()
        return content

    async with engine_on(store, clock) as engine:
        monkeypatch.setattr("services.state_engine.snapshots.encode", slow)
        await engine.opening.create(CreateSession("s", None, None))
        await talk(engine, clock, 0, 10)
        await made.wait()
        await engine.delete("s")
        await engine.opening.create(CreateSession("s", None, None))
        go_on.set()
    assert store.rows("SELECT 1 FROM snapshots") == []
    async with engine_on(store, clock) as engine:
        assert (await engine.state("s", None, None)).revision == 1
        with pytest.raises(SessionNotFoundError):
            await engine.state("nowhere", None, None)


async def test_engines_on_one_database_read_each_others_snapshots(store: Store, clock: SetClock) -> None:
    if isinstance(store, SqliteStore):
        return  # one engine for each file
    async with engine_on(store, clock) as one, engine_on(store, clock) as other:
        await one.opening.create(CreateSession("s", None, None))
        for first in range(0, 120, 10):
            # Each says some, so that both of them make snapshots.
            await talk(one if first % 20 else other, clock, first, 10)
        expected = await states(one, clock)
        assert await states(other, clock) == expected
        await asyncio.gather(one.stop(), other.stop())
        before = counted()
        async with engine_on(store, clock) as third:
            assert await states(third, clock) == expected
            assert since(before) == {"used": 1}
            # One that is old is made good by what came after it, and one that is gone by the log.
            await talk(third, clock, 120, 9)
            delete_all(store)
            assert await states(one, clock) == await states(third, clock) == await states(other, clock)
            async with engine_on(store, clock, every=10**6) as fourth:
                assert await states(fourth, clock) == await states(one, clock)


def test_a_thousand_facts_are_worth_a_snapshot() -> None:
    assert replace(EngineOptions("default", True, 1, 1)).snapshot_every == snapshots.EVERY == 1_000
