"""Long folds: what does not fit into a moment is folded in a thread, has the same bits, and holds up nobody else."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from limbic.runtime.clock import NS_PER_S
from services.state_engine.causes import Reading
from services.state_engine.commands import AddStimulus, CreateSession, NewStimulus, PauseSession, RecordTurn
from services.state_engine.dynamics import Dynamics, Vector
from services.state_engine.engine import Engine, EngineOptions
from services.state_engine.folds import Stimulus
from services.state_engine.journal.facts import Fact, Role, SessionLog, StimulusFact, TurnFact
from services.state_engine.journal.sqlite import SqliteJournal
from services.state_engine.session import Session
from services.state_engine.session_time import Pause, SessionTime
from services.state_engine.timeline import NEAR, Timeline
from tests.state_engine.lives import LIBRARY, life, log, opening
from tests.state_engine.parts import START_NS, SetClock
from tests.state_engine.stores import ignore

LAW = LIBRARY.named("default").dynamics
LONG = 3_000
HURT = Reading(-0.6, 0.1, 0.4, 0.8)


def stimulus(number: int, at_s: float, name: str = "s") -> Stimulus:
    latent = np.linspace(0.0, 3.0, LAW.size) * ((number % 7) + 1)
    return Stimulus((START_NS + round(at_s * NS_PER_S), f"{name}{number}"), LAW.impulse(latent))


def long_timeline(turns: int = LONG) -> Timeline:
    timeline = Timeline(LAW)
    for number in range(turns):
        timeline.add_turn(f"t{number}", f"t{number - 1}" if number else "")
        timeline.add_stimulus(f"t{number}", stimulus(number, 60.0 * number))
    return timeline


def settle(timeline: Timeline, turn_id: str, moment_ns: int | None = None) -> int:
    """Bring an answer near, and return how many long folds that took."""
    taken = 0
    while not timeline.is_near(turn_id, moment_ns):
        refold = timeline.refold(turn_id, moment_ns)
        refold.run()
        timeline.take(refold)
        taken += 1
    return taken


def test_what_is_near_needs_no_long_fold_and_what_is_far_needs_one() -> None:
    timeline, end = long_timeline(), START_NS + 10**15
    assert settle(timeline, "t2999") == 0
    timeline.add_stimulus("t2990", stimulus(0, 60.0 * 2_990 + 1, "late"))
    assert settle(timeline, "t2999") == 0
    timeline.add_stimulus("t5", stimulus(1, 60.0 * 5 + 1, "late"))
    assert settle(timeline, "t2999") == 1
    # On the way it has found what all turns on the path need.
    assert [settle(timeline, turn) for turn in ("t6", "t1500", "t2998")] == [0, 0, 0]
    assert settle(timeline, "t2999", START_NS + 90_000 * NS_PER_S) == 0

    fresh = long_timeline()
    fresh.add_stimulus("t5", stimulus(1, 60.0 * 5 + 1, "late"))
    fresh.add_stimulus("t2990", stimulus(0, 60.0 * 2_990 + 1, "late"))
    assert timeline.state("t2999", end).tobytes() == fresh.state("t2999", end).tobytes()


def test_a_past_moment_behind_something_out_of_order_is_brought_near_too() -> None:
    timeline = long_timeline()
    # Felt long ago at the last turn: whatever is asked about the past has to look at all turns since.
    timeline.add_stimulus("t2999", stimulus(0, 30.0, "memory"))
    moment = START_NS + 600 * NS_PER_S
    assert settle(timeline, "t2999") == 1
    assert settle(timeline, "t2999", moment) == 1
    assert settle(timeline, "t2999", moment) == 0

    fresh = long_timeline()
    fresh.add_stimulus("t2999", stimulus(0, 30.0, "memory"))
    (expected,) = fresh.states("t2999", [moment])
    assert timeline.state("t2999", moment).tobytes() == expected.tobytes()


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32))
def test_whatever_is_learned_during_a_long_fold_the_bits_are_those_of_a_whole_fold(seed: int) -> None:
    random, facts = Random(seed), life(seed, 400)
    session = Session.of(log(facts[:250]), LIBRARY)
    for first in range(250, len(facts), 30):
        turn = random.choice(session.timeline.tree.ids)
        moment = random.choice((None, START_NS + random.randrange(10**15)))
        refold = session.timeline.refold(turn, moment)
        before = facts[first : first + random.randrange(31)]
        session.apply(before, 1 + first + len(before))
        refold.run()
        after = facts[first + len(before) : first + 30]
        session.apply(after, 1 + first + 30)
        if random.random() < 0.2:
            session.timeline.set_time(SessionTime([Pause(START_NS, START_NS + 5)]), START_NS)
            session.timeline.set_time(session.pauses.time(), START_NS)
        session.timeline.take(refold)

    whole = Session.of(log(facts), LIBRARY)
    for turn in random.sample(whole.timeline.tree.ids, 20):
        for moment in (START_NS + 10**16, START_NS + random.randrange(10**15)):
            assert session.timeline.state(turn, moment).tobytes() == whole.timeline.state(turn, moment).tobytes()


class Held(Executor):
    """Runs nothing before it is told to."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.asked = 0
        self._asked = asyncio.Event()
        self._pool = ThreadPoolExecutor(2)

    async def was_asked(self) -> None:
        await self._asked.wait()

    def submit(self, call: Callable[..., Any], /, *arguments: Any, **named: Any) -> Future[Any]:
        self.asked += 1
        self._asked.set()

        def later() -> Any:
            self.go.wait()
            return call(*arguments, **named)

        return self._pool.submit(later)


@asynccontextmanager
async def long_session(path: Path, clock: SetClock, held: Held) -> AsyncIterator[Engine]:
    """An engine with a session of many turns, and a short one."""
    journal = SqliteJournal(path, clock, capacity=100)
    await journal.start()
    facts: list[Fact] = [opening("long")]
    for number in range(LONG):
        at = START_NS + number * NS_PER_S
        facts.append(TurnFact(f"t{number}", f"t{number - 1}" if number else "", Role.USER, at, at, "words", False))
        facts.append(StimulusFact(f"f{number}", f"t{number}", at, at, HURT))
    await journal.append("long", facts, ignore)
    clock.pass_s(LONG)
    engine = Engine(journal, LIBRARY, clock, EngineOptions("default", True, 10, 100_000), held)
    await engine.opening.create(CreateSession("short", None, None))
    try:
        yield engine
    finally:
        held.go.set()
        await engine.stop()
        await journal.stop()


def late(stimulus_id: str, turn_id: str) -> AddStimulus:
    at = START_NS + int(turn_id[1:]) * NS_PER_S + 1
    return AddStimulus("long", turn_id, NewStimulus("stimulus", stimulus_id, at, HURT))


async def until_it_holds(engine: Engine, facts: int) -> None:
    """Wait until the long session has taken in so many."""
    with engine.watches.of("long") as watch:
        while (await engine.session("long")).revision < facts:
            await watch.wait(60.0)


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> Counter[int]:
    """How often a state was advanced, by thread."""
    counted: Counter[int] = Counter()
    advance = Dynamics.advance

    def counting(self: Dynamics, state: Vector, seconds: float) -> Vector:
        counted[threading.get_ident()] += 1
        return advance(self, state, seconds)

    monkeypatch.setattr(Dynamics, "advance", counting)
    return counted


async def test_a_late_reading_far_back_does_its_work_in_a_thread_and_holds_up_nobody(
    journal_path: Path, clock: SetClock, steps: Counter[int]
) -> None:
    held = Held()
    async with long_session(journal_path, clock, held) as engine:
        await engine.state("long", None, None)
        steps.clear()
        call = asyncio.create_task(engine.recording.stimulus(late("late", "t5")))
        await until_it_holds(engine, 2 * LONG + 2)
        asked = [asyncio.create_task(engine.state("long", turn, None)) for turn in (None, "t1000", "t2999")]
        # While the fold is held, everybody else is answered, also about this session where nothing is far.
        for number in range(20):
            await engine.state("short", None, None)
            said = RecordTurn("short", f"u{number}", None, Role.USER, clock.now, "words", cut=False, stimuli=())
            await engine.recording.turn(said)
        assert (await engine.state("long", "t3", None)).turn_id == "t3"
        assert not call.done()
        assert not any(one.done() for one in asked)
        assert held.asked == 1, "who asks about the same session waits for the same fold"
        held.go.set()
        (state, duplicate), (tip, *_) = await call, await asyncio.gather(*asked)

    here = steps.pop(threading.get_ident())
    assert here <= 3 * NEAR
    assert sum(steps.values()) >= LONG - 6
    assert (state.levels, duplicate) == (tip.levels, False)


async def test_what_is_recorded_during_a_long_fold_is_in_the_answer(journal_path: Path, clock: SetClock) -> None:
    held = Held()
    async with long_session(journal_path, clock, held) as engine:
        await engine.state("long", None, None)
        calls = [asyncio.create_task(engine.recording.stimulus(late(f"late{n}", f"t{5 + n}"))) for n in range(3)]
        said = RecordTurn("long", "next", None, Role.USER, clock.now, "words", cut=False, stimuli=())
        calls.append(asyncio.create_task(engine.recording.turn(said)))
        calls.append(asyncio.create_task(engine.recording.stimulus(late("later", "t2000"))))
        pause = asyncio.create_task(engine.recording.pause(PauseSession("long", "p", clock.now - NS_PER_S)))
        await until_it_holds(engine, 2 * LONG + 7)
        held.go.set()
        await asyncio.gather(*calls, pause)
        clock.pass_s(60)
        state = await engine.state("long", None, None)
        recorded = await engine._journal.load("long")

    assert isinstance(recorded, SessionLog)
    whole = Session.of(recorded, LIBRARY)
    assert state == whole.state("next", state.as_of_ns)


async def test_a_caller_that_goes_away_leaves_the_fold_to_the_others(journal_path: Path, clock: SetClock) -> None:
    held = Held()
    async with long_session(journal_path, clock, held) as engine:
        await engine.state("long", None, None)
        first = asyncio.create_task(engine.recording.stimulus(late("late", "t5")))
        await until_it_holds(engine, 2 * LONG + 2)
        second = asyncio.create_task(engine.state("long", None, None))
        await asyncio.sleep(0)
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        held.go.set()
        state = await second

    assert held.asked == 1
    assert state.revision == 2 * LONG + 2


async def test_an_explanation_of_much_is_made_in_a_thread_and_adds_up_to_one_moment(
    journal_path: Path, clock: SetClock, steps: Counter[int]
) -> None:
    held = Held()
    async with long_session(journal_path, clock, held) as engine:
        tip = await engine.state("long", None, None)
        steps.clear()
        call = asyncio.create_task(engine.explain("long", "t2999", None, 2 * LONG))
        await held.was_asked()
        # Something is felt on its path while it is being made.
        late_now = NewStimulus("stimulus", "now", clock.now, HURT)
        await engine.recording.stimulus(AddStimulus("long", "t2999", late_now))
        held.go.set()
        explained = await call

    assert held.asked == 2, "it was made again"
    assert explained.state.revision == tip.revision + 1
    assert {one.stimulus_id for one in explained.breakdown.largest} == {
        "now",
        *(f"f{number}" for number in range(LONG)),
    }
    assert steps[threading.get_ident()] < 10
