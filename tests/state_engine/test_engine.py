"""The use cases under a journal that is slow, failing or full, and callers that go away. In process, so that the order is certain."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from limbic.runtime.clock import NS_PER_S
from services.state_engine.causes import Event, Reading
from services.state_engine.commands import AddStimulus, CreateSession, NewStimulus, RecordTurn
from services.state_engine.engine import Engine, EngineOptions
from services.state_engine.errors import (
    JournalBusyError,
    JournalUnavailableError,
    StimulusExistsError,
    TurnExistsError,
    TurnNotFoundError,
)
from services.state_engine.journal import sqlite_file
from services.state_engine.journal.facts import Role
from services.state_engine.journal.sqlite import SqliteJournal
from services.state_engine.library import TemperamentLibrary
from tests.state_engine.parts import START_NS, SetClock

HURT = Reading(valence=-0.8, intimacy=0.0, tension=0.8, confidence=0.9)


class Gated(sqlite3.Connection):
    """Commits when the test lets it, and fails when the test says so."""

    open = threading.Event()
    fails = False

    def execute(self, sql: str, parameters: Sequence[object] = (), /) -> sqlite3.Cursor:  # type: ignore[override]
        if sql == "COMMIT" and self.total_changes > 0:
            Gated.open.wait()
            if Gated.fails:
                raise sqlite3.OperationalError("disk I/O error")
        return super().execute(sql, parameters)


def connect_gated(path: Path) -> sqlite3.Connection:
    sqlite_file.connect(path).close()
    return sqlite3.connect(path, isolation_level=None, check_same_thread=False, factory=Gated)


@pytest.fixture
def gate() -> type[Gated]:
    Gated.open.set()
    Gated.fails = False
    return Gated


@asynccontextmanager
async def engine_on(path: Path, clock: SetClock, *, capacity: int = 100) -> AsyncIterator[Engine]:
    journal = SqliteJournal(path, clock, capacity=capacity, connect=connect_gated)
    await journal.start()
    options = EngineOptions("default", keep_text=True, cached_sessions=10, facts_per_session=1_000)
    engine = Engine(journal, TemperamentLibrary(), clock, options)
    await engine.opening.create(CreateSession("s", None, None))
    try:
        yield engine
    finally:
        Gated.open.set()
        await journal.stop()


def turn(turn_id: str, parent: str | None = None, *stimuli: NewStimulus, text: str = "words") -> RecordTurn:
    return RecordTurn("s", turn_id, parent, Role.USER, START_NS, text, cut=False, stimuli=stimuli)


def felt(stimulus_id: str, cause: Reading | Event = HURT) -> NewStimulus:
    return NewStimulus("stimuli[0]", stimulus_id, None, cause)


async def started(*calls: asyncio.Task[object]) -> None:
    """Let tasks run until each of them waits for the journal, whose gate is shut."""
    for _ in range(10):
        await asyncio.sleep(0)
    assert not any(call.done() for call in calls)


async def test_nothing_is_felt_before_it_is_durable(journal_path: Path, clock: SetClock, gate: type[Gated]) -> None:
    async with engine_on(journal_path, clock) as engine:
        gate.open.clear()
        call = asyncio.create_task(engine.recording.turn(turn("t", None, felt("f"))))
        await started(call)

        before = await engine.state("s", None, None)
        gate.open.set()
        after, _ = await call

    assert (before.turn_id, before.revision) == ("", 1)
    assert (after.turn_id, after.revision) == ("t", 3)
    assert before.levels[2].value == 30.0 < after.levels[2].value


async def test_a_commit_that_fails_leaves_memory_as_it_was_and_a_retry_succeeds(
    journal_path: Path, clock: SetClock, gate: type[Gated]
) -> None:
    async with engine_on(journal_path, clock) as engine:
        gate.fails = True
        calls = [engine.recording.turn(turn(f"t{n}", "", felt(f"f{n}"))) for n in range(8)]
        failures = await asyncio.gather(*calls, return_exceptions=True)
        rested = await engine.state("s", None, None)
        gate.fails = False
        state, duplicate = await engine.recording.turn(turn("t0", "", felt("f0")))

    assert all(isinstance(failure, JournalUnavailableError) for failure in failures)
    assert (rested.turn_id, rested.revision) == ("", 1)
    assert rested.levels[2].value == 30.0
    assert (state.revision, duplicate) == (3, False)


async def test_a_child_may_be_sent_while_its_parent_is_on_its_way(
    journal_path: Path, clock: SetClock, gate: type[Gated]
) -> None:
    async with engine_on(journal_path, clock) as engine:
        gate.open.clear()
        parent = asyncio.create_task(engine.recording.turn(turn("parent", "")))
        late = asyncio.create_task(engine.recording.stimulus(AddStimulus("s", "parent", felt("f"))))
        children = [asyncio.create_task(engine.recording.turn(turn(f"child{n}", "parent"))) for n in range(3)]
        await started(parent, late, *children)
        gate.open.set()
        await asyncio.gather(parent, late, *children)
        states = [await engine.state("s", f"child{n}", None) for n in range(3)]

    assert all(state.levels[2].value > 35.0 for state in states)


async def test_when_the_parent_fails_the_child_is_refused(
    journal_path: Path, clock: SetClock, gate: type[Gated]
) -> None:
    async with engine_on(journal_path, clock) as engine:
        gate.open.clear()
        gate.fails = True
        parent = asyncio.create_task(engine.recording.turn(turn("parent", "")))
        child = asyncio.create_task(engine.recording.turn(turn("child", "parent")))
        await started(parent, child)
        gate.open.set()
        outcomes = await asyncio.gather(parent, child, return_exceptions=True)

    assert [type(outcome) for outcome in outcomes] == [JournalUnavailableError, TurnNotFoundError]


async def test_the_same_turn_from_many_callers_at_once_is_felt_once(
    journal_path: Path, clock: SetClock, gate: type[Gated]
) -> None:
    async with engine_on(journal_path, clock) as engine:
        gate.open.clear()
        calls = [asyncio.create_task(engine.recording.turn(turn("t", "", felt("f")))) for _ in range(16)]
        calls += [asyncio.create_task(engine.recording.turn(turn("t", "", text="other"))) for _ in range(4)]
        await started(*calls)
        gate.open.set()
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
        state = await engine.state("s", None, None)

    answers = [outcome for outcome in outcomes if not isinstance(outcome, BaseException)]
    assert sorted(duplicate for _, duplicate in answers) == [False] + [True] * 15
    assert sum(isinstance(outcome, TurnExistsError) for outcome in outcomes) == 4
    assert state.revision == 3


async def test_one_stimulus_on_two_turns_at_once_is_taken_by_the_first(
    journal_path: Path, clock: SetClock, gate: type[Gated]
) -> None:
    async with engine_on(journal_path, clock) as engine:
        outcomes = await asyncio.gather(
            engine.recording.turn(turn("a", "", felt("f"))),
            engine.recording.turn(turn("b", "", felt("f"))),
            return_exceptions=True,
        )
        state = await engine.state("s", None, None)

    assert isinstance(outcomes[1], StimulusExistsError)
    assert (state.turn_id, state.revision) == ("a", 3)


async def test_a_caller_that_goes_away_leaves_memory_and_journal_agreed(
    journal_path: Path, clock: SetClock, gate: type[Gated]
) -> None:
    async with engine_on(journal_path, clock) as engine:
        gate.open.clear()
        call = asyncio.create_task(engine.recording.turn(turn("t", "", felt("f"))))
        await started(call)
        call.cancel()
        gate.open.set()
        state, duplicate = await engine.recording.turn(turn("t", "", felt("f")))

    assert (state.revision, duplicate) == (3, True)


async def test_a_full_queue_is_refused_with_a_delay_and_nothing_is_kept(
    journal_path: Path, clock: SetClock, gate: type[Gated]
) -> None:
    async with engine_on(journal_path, clock, capacity=3) as engine:
        gate.open.clear()
        calls = [asyncio.create_task(engine.recording.turn(turn(f"t{n}", ""))) for n in range(3)]
        await started(*calls)
        with pytest.raises(JournalBusyError) as caught:
            await engine.recording.turn(turn("t3", ""))
        gate.open.set()
        await asyncio.gather(*calls)
        _, duplicate = await engine.recording.turn(turn("t3", ""))

    assert caught.value.retry_after
    assert not duplicate


async def test_an_event_without_a_time_happens_now_and_a_reading_when_the_words_were_said(
    journal_path: Path, clock: SetClock, gate: type[Gated]
) -> None:
    async with engine_on(journal_path, clock) as engine:
        await engine.recording.turn(turn("t", ""))
        clock.pass_s(100)
        for stimulus in (felt("reading"), felt("event", Event("reward"))):
            await engine.recording.stimulus(AddStimulus("s", "t", stimulus))
        page = await engine.turns("s", None, 10, "")

    moments = {one.stimulus_id: one.occurred_ns for one in page.turns[0].stimuli}
    assert moments == {"reading": START_NS, "event": START_NS + 100 * NS_PER_S}
