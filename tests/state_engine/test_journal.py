"""What every journal does: whole facts to the last bit, durable groups, neighbours that do not hurt each other, deletion, migrations."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from services.state_engine.errors import JournalBusyError, SessionNotFoundError
from services.state_engine.journal.facts import (
    Fact,
    ForkOrigin,
    LaterFact,
    PauseFact,
    ResumptionFact,
    RetractionFact,
    RewindFact,
    Snapshot,
    StimulusFact,
)
from services.state_engine.journal.migrate import VERSION_TABLE, migrations, translated
from services.state_engine.journal.port import JournalConflictError, JournalOpenError
from services.state_engine.journal.rows import TABLES
from tests.state_engine.stores import EVENT, READING, SESSION, Store, ignore, opened, turn

EACH_KIND: list[LaterFact] = [
    PauseFact("p", 5, 6),
    turn(1),
    RetractionFact("event", 7),
    EVENT,
    ResumptionFact("p", 8, 9),
    RewindFact("r", "", 10),
    turn(2),
]
ALL_TABLES = ["sessions", "temperaments", "snapshots", *(table.name for table in TABLES.values())]


async def test_facts_come_back_to_the_last_bit_after_reopening(store: Store) -> None:
    facts: list[Fact] = [turn(1), READING, EVENT, turn(2, "t1")]
    async with opened(store) as journal:
        assert await journal.append("s", [SESSION], ignore) == 1
        assert await journal.append("s", facts, ignore) == 5

    async with opened(store) as journal:
        log = await journal.load("s")

        assert log is not None
        assert (log.session, list(log.facts), log.revision) == (SESSION, facts, 5)
        assert await journal.append("s", [turn(3, "t2")], ignore) == 6
        assert await journal.turns("s", ["t3", "t1", "nowhere"]) == [turn(3, "t2"), turn(1)]
        assert await journal.stimuli("s", ["event", "reading"]) == [EVENT, READING]
        assert [row.sequence for row in await journal.turns_before("s", 6, 10)] == [2, 5]
        assert [row.turn for row in await journal.turns_before("s", None, 2)] == [turn(2, "t1"), turn(3, "t2")]
        assert await journal.load("another") is None
        assert await journal.turns("another", ["t1"]) == []


async def test_each_kind_of_fact_comes_back_in_the_order_of_recording(store: Store) -> None:
    fork = replace(SESSION, session_id="fork", forked_from=ForkOrigin("s", ""))
    async with opened(store) as journal:
        assert await journal.append("fork", [fork, *EACH_KIND], ignore) == 8

    async with opened(store) as journal:
        log = await journal.load("fork")

        assert log is not None
        assert (log.session, list(log.facts), log.revision) == (fork, EACH_KIND, 8)
        assert await journal.append("fork", [RewindFact("r2", "t1", 11)], ignore) == 9


async def test_a_fact_that_does_not_fit_hurts_no_neighbour(store: Store) -> None:
    other = replace(SESSION, session_id="other")
    async with opened(store) as journal:
        await journal.append("s", [SESSION], ignore)
        await journal.append("s", [turn(0)], ignore)
        told: list[int | None] = []
        outcomes = await asyncio.gather(
            journal.append("s", [turn(1), EVENT], told.append),
            journal.append("s", [turn(0)], told.append),  # taken
            journal.append("nowhere", [turn(1)], told.append),  # no such session
            journal.append("s", [turn(2), EVENT], told.append),  # half of it taken: none of it is recorded
            journal.append("s", [replace(SESSION, temperament="another")], told.append),  # open already
            journal.append("other", [other, turn(1)], told.append),
            journal.append("s", [turn(3)], told.append),
            return_exceptions=True,
        )
        log, another = await journal.load("s"), await journal.load("other")

    assert [outcome if isinstance(outcome, int) else type(outcome) for outcome in outcomes] == [
        4,
        JournalConflictError,
        SessionNotFoundError,
        JournalConflictError,
        JournalConflictError,
        2,
        5,
    ]
    assert told == [4, None, None, None, None, 2, 5]
    assert log is not None
    assert another is not None
    assert (list(log.facts), log.revision) == ([turn(0), turn(1), EVENT, turn(3)], 5)
    assert (another.session, list(another.facts)) == (other, [turn(1)])


async def test_a_full_queue_refuses_at_once_and_takes_more_when_it_has_room(store: Store) -> None:
    async with opened(store, capacity=2) as journal:
        first = journal.append("s", [SESSION], ignore)
        second = journal.append("s", [turn(1)], ignore)
        with pytest.raises(JournalBusyError):
            journal.append("s", [turn(2)], ignore)
        with pytest.raises(JournalBusyError):
            journal.delete("s", ignore)
        await asyncio.gather(first, second)

        assert await journal.append("s", [turn(2)], ignore) == 3


async def test_what_a_caller_left_behind_is_recorded_and_told(store: Store) -> None:
    told: list[int | None] = []
    async with opened(store) as journal:
        await journal.append("s", [SESSION], ignore)
        journal.append("s", [turn(1)], told.append).cancel()
        await journal.append("s", [turn(2)], told.append)

    assert told == [2, 3]


async def test_stopping_writes_what_waits(store: Store) -> None:
    async with opened(store) as journal:
        waiting = [journal.append("s", [SESSION], ignore), *(journal.append("s", [turn(n)], ignore) for n in range(20))]

    assert [await one for one in waiting] == list(range(1, 22))


async def test_a_deletion_takes_all_that_came_before_it_and_nothing_else(store: Store) -> None:
    other = replace(SESSION, session_id="other")
    async with opened(store) as journal:
        await journal.append("other", [other, turn(1)], ignore)
        told: list[int | None] = []
        outcomes = await asyncio.gather(
            journal.append(
                "s", [replace(SESSION, temperament_digest="own", temperament_text="own"), *EACH_KIND], told.append
            ),
            journal.append("s", [turn(3)], told.append),
            journal.delete("s", told.append),
            journal.append("s", [turn(4)], told.append),
            journal.delete("s", told.append),
            return_exceptions=True,
        )
        gone, kept = await journal.load("s"), await journal.load("other")
        assert await journal.append("s", [SESSION, turn(5)], ignore) == 2
        again = await journal.load("s")

    assert [outcome if isinstance(outcome, int) else type(outcome) for outcome in outcomes] == [
        8,
        9,
        9,
        SessionNotFoundError,
        0,
    ]
    assert told == [8, 9, 9, None, 0]
    assert gone is None
    assert kept is not None
    assert again is not None
    assert (list(kept.facts), list(again.facts)) == ([turn(1)], [turn(5)])
    assert store.rows("SELECT digest FROM temperaments") == [("digest",)]


async def test_what_is_deleted_leaves_no_row(store: Store) -> None:
    async with opened(store) as journal:
        await journal.append("s", [SESSION, *EACH_KIND, READING], ignore)
        await journal.keep("s", Snapshot(9, b"content"))
        assert await journal.delete("s", ignore) == 9

    assert [table for table in ALL_TABLES if store.rows(f"SELECT 1 FROM {table}")] == []


async def test_an_append_for_a_session_that_was_deleted_does_not_reach_the_next_of_its_name(store: Store) -> None:
    other = replace(SESSION, session_id="other")
    async with opened(store) as journal:
        await journal.append("s", [SESSION, turn(1)], ignore)
        first = await journal.load("s")
        assert first is not None
        await journal.append("s", [turn(2)], ignore, first.key)
        await journal.append("other", [other], ignore)  # so that the key is not the last
        await journal.delete("s", ignore)
        await journal.append("s", [SESSION], ignore)
        with pytest.raises(SessionNotFoundError):
            await journal.append("s", [turn(3)], ignore, first.key)
        second = await journal.load("s")

    assert second is not None
    assert (list(second.facts), second.key != first.key) == ([], True)


@pytest.mark.parametrize("last", EACH_KIND, ids=lambda fact: type(fact).__name__)
async def test_what_was_touched_lately_is_not_found_idle_and_not_deleted(store: Store, last: LaterFact) -> None:
    old: list[Fact] = [StimulusFact("old", "", 1, 20, EVENT.cause), turn(9)]
    changed = replace(last, recorded_ns=1_000)
    async with opened(store) as journal:
        await journal.append("idle", [replace(SESSION, session_id="idle"), *old], ignore)
        await journal.append("used", [replace(SESSION, session_id="used"), *old, changed], ignore)
        await journal.append("new", [replace(SESSION, session_id="new", created_ns=1_000)], ignore)

        assert await journal.untouched_since(1_000, 10) == ["idle"]
        assert sorted(await journal.untouched_since(1_001, 10)) == ["idle", "new", "used"]
        assert len(await journal.untouched_since(1_001, 2)) == 2
        assert [await journal.delete(one, ignore, 1_000) for one in ("used", "new", "idle")] == [0, 0, 3]
        assert await journal.untouched_since(1_001, 10) == ["used", "new"]


async def test_the_schema_is_versioned_and_a_later_one_is_refused(store: Store) -> None:
    for _ in range(2):
        async with opened(store):
            pass
    versions = store.rows("SELECT version FROM schema_version ORDER BY version")
    store.execute(["INSERT INTO schema_version VALUES (999, 1)"])

    assert versions == [(number,) for number, _ in migrations(store.dialect)]
    with pytest.raises(JournalOpenError, match="schema version 999"):
        await store.journal().start()


@pytest.mark.parametrize("version", range(1, 6))
async def test_a_journal_of_an_earlier_version_is_brought_up_to_date_with_what_it_holds(
    store: Store, version: int
) -> None:
    earlier = [(number, script) for number, script in migrations(store.dialect) if number <= version]
    store.execute([translated(VERSION_TABLE, store.dialect)])
    for number, script in earlier:
        store.execute([script, f"INSERT INTO schema_version VALUES ({number}, 1)"])
    store.execute(
        [
            "INSERT INTO temperaments VALUES ('digest', 'text')",
            "INSERT INTO sessions (session_key, session_id, temperament, temperament_digest, keep_text, created_ns) "
            "VALUES (7, 's', 'default', 'digest', 1, 17)",
            "INSERT INTO turns VALUES (7, 2, 't1', '', 2, 101, 201, 'words 1 ✓', 0)",
        ]
    )
    if store.dialect == "postgresql" and version >= 3:
        store.execute(["INSERT INTO heads VALUES (7, 2)"])

    async with opened(store) as journal:
        log = await journal.load("s")
        assert log is not None
        assert list(log.facts) == [turn(1)]
        assert await journal.append("s", [RetractionFact("event", 7)], ignore, log.key) == 3
        assert await journal.append("new", [replace(SESSION, session_id="new")], ignore) == 1
        assert await journal.keep("s", Snapshot(3, b"content"), log.key) == 1
