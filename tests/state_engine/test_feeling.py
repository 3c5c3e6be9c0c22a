"""What is felt and how it fades: through real gRPC and a real journal."""

from __future__ import annotations

import asyncio

import pytest

from limbic.state.v1 import state_pb2
from tests.state_engine.calls import felt, opened, state_at, turn
from tests.state_engine.parts import Running, values


async def test_a_new_session_rests(engine: Running) -> None:
    response = await engine.stub.CreateSession(state_pb2.CreateSessionRequest(session_id="s"))

    assert (response.existed, response.session.session_id, response.session.temperament) == (False, "s", "default")
    assert response.session.keeps_text
    assert len(response.session.temperament_digest) == 64
    assert response.state.revision == 1
    assert all(level.value == level.baseline and level.band == state_pb2.BAND_STEADY for level in response.state.levels)
    assert [level.name for level in response.state.levels] == [
        "dopamine", "serotonin", "cortisol", "oxytocin", "noradrenaline",
    ]  # fmt: skip
    assert all(mood.intensity == 0.0 for mood in response.state.moods)


async def test_words_move_the_levels_and_time_brings_them_back(engine: Running) -> None:
    await opened(engine)
    recorded = await engine.stub.RecordTurn(turn("t", stimuli=[felt("f")]))
    at_once = values(recorded.state)
    engine.clock.pass_s(3_600)
    later = values(await state_at(engine))
    engine.clock.pass_s(40 * 3_600)
    rested = values(await state_at(engine))

    assert not recorded.duplicate
    assert recorded.state.turn_id == "t"
    assert recorded.state.revision == 3
    assert 6.0 < at_once["cortisol"] - 30.0 < 20.0
    assert 30.5 < later["cortisol"] < at_once["cortisol"]
    assert rested["cortisol"] == pytest.approx(30.0, abs=1e-3)


async def test_polling_changes_nothing(engine: Running) -> None:
    for session in ("s", "polled"):
        await opened(engine, session)
        await engine.stub.RecordTurn(turn("t", session=session, stimuli=[felt("f")]))
    for _ in range(50):
        engine.clock.pass_s(7)
        await state_at(engine, session="polled")

    assert values(await state_at(engine)) == values(await state_at(engine, session="polled"))


async def test_a_reading_that_comes_late_leads_to_the_same_state_as_on_time(engine: Running) -> None:
    said_at = engine.clock.timestamp()
    for session in ("s", "late"):
        await opened(engine, session)
    await engine.stub.RecordTurn(turn("t", occurred_at=said_at, stimuli=[felt("f")]))
    await engine.stub.RecordTurn(turn("t", session="late", occurred_at=said_at))
    engine.clock.pass_s(30)
    for session in ("s", "late"):
        await engine.stub.RecordTurn(turn("u", session=session, stimuli=[felt("g", 0.5, -0.2)]))
    engine.clock.pass_s(30)

    added = await engine.stub.AddStimulus(
        state_pb2.AddStimulusRequest(session_id="late", turn_id="t", stimulus=felt("f"))
    )

    assert not added.duplicate
    assert values(added.state) == values(await state_at(engine))


async def test_a_sibling_does_not_inherit(engine: Running) -> None:
    await opened(engine)
    await engine.stub.RecordTurn(turn("t", parent=""))
    await engine.stub.RecordTurn(turn("a", parent="t", stimuli=[felt("f")]))
    sibling = await engine.stub.RecordTurn(turn("b", parent="t"))
    await engine.stub.AddStimulus(state_pb2.AddStimulusRequest(session_id="s", turn_id="a", stimulus=felt("late")))

    assert values(sibling.state)["cortisol"] == 30.0
    assert values(await state_at(engine, "b"))["cortisol"] == 30.0
    assert values(await state_at(engine, "a"))["cortisol"] > 40.0
    # The tip is the turn that was recorded last.
    assert (await state_at(engine)).turn_id == "b"


async def test_the_past_reads_as_it_was(engine: Running) -> None:
    await opened(engine)
    before = engine.clock.timestamp()
    engine.clock.pass_s(10)
    await engine.stub.RecordTurn(turn("t", stimuli=[felt("f")]))
    between = engine.clock.timestamp()
    first = await state_at(engine)
    engine.clock.pass_s(10)
    await engine.stub.RecordTurn(turn("u", stimuli=[felt("g")]))

    async def at(moment: object) -> dict[str, float]:
        request = state_pb2.GetStateRequest(session_id="s", as_of=moment)  # type: ignore[arg-type]
        return values((await engine.stub.GetState(request)).state)

    assert (await at(before))["cortisol"] == 30.0
    assert await at(between) == values(first)


async def test_a_host_whose_clock_is_a_little_ahead_is_felt_at_once(engine: Running) -> None:
    await opened(engine)

    recorded = await engine.stub.RecordTurn(turn("t", occurred_at=engine.clock.timestamp(1.5), stimuli=[felt("f")]))

    assert values(recorded.state)["cortisol"] > 35.0
    engine.clock.pass_s(-3_600)
    assert values(await state_at(engine)) == values(recorded.state)


async def test_64_callers_on_one_session_agree_with_one(engine: Running) -> None:
    for session in ("s", "one"):
        await opened(engine, session)
        await engine.stub.RecordTurn(turn("root", session=session))
    moments = [engine.clock.timestamp(-number) for number in range(256)]

    def stimulus(number: int) -> state_pb2.Stimulus:
        one = felt(f"f{number}", valence=(number % 17) / 17 - 0.5, tension=(number % 5) / 5)
        one.occurred_at.CopyFrom(moments[number])
        return one

    async def caller(first: int) -> None:
        for number in range(first, 256, 64):
            for _ in range(2):  # each of them twice
                request = state_pb2.AddStimulusRequest(session_id="s", turn_id="root", stimulus=stimulus(number))
                await engine.stub.AddStimulus(request)

    await asyncio.gather(*(caller(first) for first in range(64)), *(caller(first) for first in range(64)))
    for number in range(256):
        await engine.stub.AddStimulus(
            state_pb2.AddStimulusRequest(session_id="one", turn_id="root", stimulus=stimulus(number))
        )

    together, one = await state_at(engine), await state_at(engine, session="one")
    assert together.revision == one.revision == 258
    assert values(together) == values(one)
