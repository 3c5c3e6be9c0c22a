"""The laws of the places: one turn of a session at a time, none waits beyond its bound, and no place is ever lost."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import SessionBusyError
from gateway.session_places import SessionPlaces
from tests.gateway.fakes import STARTED, ManualTimer, World, settle

FAR = STARTED + 1_000.0


class Turn:
    """One that wants a place and holds it until it is let go."""

    def __init__(self, places: SessionPlaces, session_id: str = "ada", deadline_at: float = FAR) -> None:
        self.release = asyncio.Event()
        self.runs = False
        self.task = asyncio.create_task(self._run(places, session_id, deadline_at))

    async def _run(self, places: SessionPlaces, session_id: str, deadline_at: float) -> None:
        async with places.place(session_id, deadline_at):
            self.runs = True
            try:
                await self.release.wait()
            finally:
                self.runs = False

    async def end(self) -> None:
        self.release.set()
        await self.task
        await settle()


async def refused(turn: Turn) -> SessionBusyError:
    (outcome,) = await asyncio.gather(turn.task, return_exceptions=True)
    assert isinstance(outcome, SessionBusyError)
    return outcome


async def test_a_second_turn_of_a_session_waits_for_the_first_and_others_do_not() -> None:
    places = SessionPlaces(ManualTimer(), queue=1, wait_s=10.0)
    first, second, other = Turn(places), Turn(places), Turn(places, "eve")
    await settle()

    running = first.runs, second.runs, other.runs
    await first.end()
    then = first.runs, second.runs
    await second.end()
    await other.end()

    assert running == (True, False, True)
    assert then == (False, True)
    assert len(places) == 0


async def test_who_waits_is_served_in_the_order_of_arrival() -> None:
    places = SessionPlaces(ManualTimer(), queue=3, wait_s=10.0)
    turns = [Turn(places) for _ in range(4)]
    await settle()

    served = []
    for _ in turns:
        (running,) = [turn for turn in turns if turn.runs]
        served.append(running)
        await running.end()

    assert served == turns


async def test_beyond_the_queue_a_turn_is_refused_at_once_with_a_delay() -> None:
    places = SessionPlaces(ManualTimer(), queue=1, wait_s=10.0)
    first, second = Turn(places), Turn(places)
    await settle()

    # No time passes here: the timer stands still.
    refusal = await refused(Turn(places))
    await first.end()
    await second.end()

    assert (refusal.reason, refusal.retry_after) == ("SESSION_BUSY", 1.0)


async def test_a_queue_of_none_refuses_every_second_turn() -> None:
    places = SessionPlaces(ManualTimer(), queue=0, wait_s=10.0)
    first = Turn(places)
    await settle()

    await refused(Turn(places))
    await first.end()

    third = Turn(places)
    await settle()
    assert third.runs
    await third.end()


@pytest.mark.parametrize(("wait_s", "deadline_s"), [(10.0, 100.0), (100.0, 10.0)])
async def test_who_waits_is_refused_when_its_time_is_up(wait_s: float, deadline_s: float) -> None:
    timer = ManualTimer()
    places = SessionPlaces(timer, queue=1, wait_s=wait_s)
    first, second = Turn(places), Turn(places, deadline_at=STARTED + deadline_s)
    await timer.advance(9.9)
    waits_still = not second.task.done()

    await timer.advance(0.1)
    await refused(second)
    await first.end()

    assert waits_still
    assert len(places) == 0


async def test_who_goes_away_leaves_the_queue() -> None:
    places = SessionPlaces(ManualTimer(), queue=2, wait_s=10.0)
    first, second, third = Turn(places), Turn(places), Turn(places)
    await settle()

    second.task.cancel()
    await settle()
    await first.end()

    assert third.runs
    await third.end()
    assert len(places) == 0


async def test_a_place_that_comes_in_the_moment_of_going_away_is_passed_on() -> None:
    places = SessionPlaces(ManualTimer(), queue=2, wait_s=10.0)
    first, second, third = Turn(places), Turn(places), Turn(places)
    await settle()

    first.release.set()
    await first.task
    second.task.cancel()
    await settle()

    assert third.runs
    await third.end()
    assert len(places) == 0


moves = st.lists(
    st.tuples(st.sampled_from(["come", "end", "leave", "wait"]), st.integers(0, 5), st.sampled_from(["ada", "eve"])),
    max_size=40,
)


@given(moves)
def test_whatever_happens_one_turn_of_a_session_runs_and_no_place_is_lost(script: list[tuple[str, int, str]]) -> None:
    async def play() -> None:
        timer = ManualTimer()
        places = SessionPlaces(timer, queue=2, wait_s=5.0)
        turns: list[tuple[str, Turn]] = []
        for move, number, session_id in script:
            if move == "come":
                turns.append((session_id, Turn(places, session_id)))
            elif move == "wait":
                await timer.advance(float(number))
            elif turns:
                turn = turns[number % len(turns)][1]
                if move == "leave":
                    turn.task.cancel()
                else:
                    turn.release.set()
            await asyncio.sleep(0)
            if number % 2:
                await settle()
                for name in ("ada", "eve"):
                    waiting = [turn for owner, turn in turns if owner == name and not turn.task.done()]
                    assert sum(turn.runs for turn in waiting) == min(1, len(waiting))
        for _, turn in turns:
            turn.task.cancel()
        await asyncio.gather(*(turn.task for _, turn in turns), return_exceptions=True)
        assert len(places) == 0

    asyncio.run(play())


async def test_a_second_turn_is_recorded_after_the_first_and_hears_its_reply() -> None:
    world = World()
    world.model.hold_at = 1
    first = world.begin(session_is_new=True)
    await settle()
    second = world.begin(world.input("and then?", turn_id="t2"))
    await settle()
    facts_while_the_first_spoke = len(world.engine.facts)

    world.model.release.set()
    await asyncio.gather(first.task, second.task)

    assert facts_while_the_first_spoke == 2
    assert [message.text for message in world.model.requests[1].messages] == [
        "I missed you",
        "Hello there.",
        "and then?",
    ]


async def test_a_turn_that_waited_too_long_is_refused_and_counted() -> None:
    world = World(session_wait_s=2.0)
    world.model.hold_at = 0
    first = world.begin(session_is_new=True)
    await settle()
    second = world.begin(world.input("and then?", turn_id="t2"))

    await world.timer.advance(2.0)
    (refusal,) = await asyncio.gather(second.task, return_exceptions=True)
    world.model.release.set()
    await first.task

    assert isinstance(refusal, SessionBusyError)
    assert world.watcher.shed == 1
    outcomes: list[Any] = [(summary.outcome, summary.reason) for summary in world.watcher.summaries]
    assert outcomes == [("refused", "SESSION_BUSY"), ("ok", "")]
    assert len(world.head.requests) == 1


async def test_a_refused_turn_gives_its_place_among_all_back() -> None:
    world = World(max_turns=2, session_queue=0)
    world.model.hold_at = 0
    first = world.begin(session_is_new=True)
    await settle()
    for number in range(5):
        second = world.begin(world.input("and then?", turn_id=f"again{number}"))
        await asyncio.gather(second.task, return_exceptions=True)

    assert world.admission.running == 1
    world.model.release.set()
    await first.task
    assert world.admission.running == 0
