"""Curves from the log: bit for bit, under another temperament, with other readings."""

from __future__ import annotations

from importlib.resources import files

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from limbic.runtime.clock import NS_PER_S
from limbic.state.v1 import state_pb2
from tests.state_engine.calls import felt, opened, pause, resume, said, state_at
from tests.state_engine.parts import START_NS, Running, reading, refused, values


async def points(engine: Running, **fields: object) -> list[state_pb2.ReplayResponse]:
    request = state_pb2.ReplayRequest(session_id="s", **fields)  # type: ignore[arg-type]
    return [point async for point in engine.stub.Replay(request)]


def at(moment_ns: int) -> Timestamp:
    moment = Timestamp()
    moment.FromNanoseconds(moment_ns)
    return moment


def offsets(found: list[state_pb2.ReplayResponse]) -> list[tuple[float, str]]:
    return [((point.recorded.as_of.ToNanoseconds() - START_NS) / NS_PER_S, point.cause_turn_id) for point in found]


async def a_conversation(engine: Running) -> None:
    await opened(engine)
    for number in range(3):
        await said(engine, f"t{number}", felt(f"f{number}", 0.4 * number - 0.6))
        engine.clock.pass_s(100)
    await said(engine, "elsewhere", felt("g"), parent="t0")
    await engine.stub.Rewind(state_pb2.RewindRequest(session_id="s", turn_id="t2"))


async def test_a_replay_has_the_bits_of_every_past_state(engine: Running) -> None:
    await a_conversation(engine)
    await engine.stub.Pause(pause(since=engine.clock.timestamp(-150)))
    await engine.stub.Resume(resume(since=engine.clock.timestamp(-120)))
    engine.clock.pass_s(30)

    found = await points(engine, interval=Duration(seconds=40))

    for point in found:
        assert point.recorded == await state_at(engine, "t2", as_of=point.recorded.as_of)
        assert point.replayed == point.recorded
    assert offsets(found) == [
        (0, "t0"), (40, ""), (80, ""), (100, "t1"), (120, ""), (160, ""), (200, "t2"), (240, ""), (280, ""), (320, ""),
    ]  # fmt: skip


async def test_without_an_interval_there_are_points_at_facts_only(engine: Running) -> None:
    await a_conversation(engine)
    late = state_pb2.Stimulus(stimulus_id="late", reading=reading(0.3), occurred_at=engine.clock.timestamp(-250))
    await engine.stub.AddStimulus(state_pb2.AddStimulusRequest(session_id="s", turn_id="t1", stimulus=late))

    assert offsets(await points(engine)) == [(0, "t0"), (50, "t1"), (100, "t1"), (200, "t2")]
    assert offsets(await points(engine, turn_id="t0")) == [(0, "t0")]


async def test_given_moments_there_are_points_at_these_and_no_others(engine: Running) -> None:
    await a_conversation(engine)
    wanted = [START_NS + round(second * NS_PER_S) for second in (0, 99.5, 100, 250)]

    found = await points(engine, moments=[at(moment) for moment in wanted])

    assert offsets(found) == [(0.0, "t0"), (99.5, ""), (100.0, "t1"), (250.0, "")]
    for point in found:
        assert values(point.recorded) == values(await state_at(engine, "t2", as_of=point.recorded.as_of))


async def test_a_curve_goes_on_for_a_day_and_no_longer(engine: Running) -> None:
    await opened(engine)
    await said(engine, "t", felt("f"))
    engine.clock.pass_s(365 * 86_400)

    found = await points(engine, interval=Duration(seconds=3_600))

    assert [offset for offset, _ in offsets(found)] == [3_600 * hour for hour in range(25)]


async def test_an_empty_session_has_no_curve(engine: Running) -> None:
    await opened(engine)

    assert await points(engine, interval=Duration(seconds=60)) == []


async def test_under_another_temperament_it_would_have_felt_different(engine: Running) -> None:
    await a_conversation(engine)
    await opened(engine, "other", temperament="predecessor")
    engine.clock.pass_s(-300)
    for number in range(3):
        await said(engine, f"t{number}", felt(f"f{number}", 0.4 * number - 0.6), session="other")
        engine.clock.pass_s(100)
    text = files("services.state_engine").joinpath("temperaments/predecessor.toml").read_text()

    by_name = await points(engine, temperament="predecessor")
    by_text = await points(engine, temperament_text=text)

    assert by_name[-1].recorded == await state_at(engine, as_of=by_name[-1].recorded.as_of)
    lived = await state_at(engine, session="other", as_of=by_name[-1].recorded.as_of)
    assert values(by_name[-1].replayed) == values(lived) != values(by_name[-1].recorded)
    assert [values(point.replayed) for point in by_text] == [values(point.replayed) for point in by_name]


async def test_with_other_readings_it_would_have_felt_different(engine: Running) -> None:
    await a_conversation(engine)
    kinder = state_pb2.Stimulus(stimulus_id="f0", reading=reading(0.9))

    found = await points(engine, readings=[kinder])

    assert values(found[0].recorded)["dopamine"] < 50.0 < values(found[0].replayed)["dopamine"]
    assert values(found[0].recorded) == values(await state_at(engine, "t0", as_of=found[0].recorded.as_of))


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"readings": [felt("nowhere")]}, "readings"),
        ({"readings": [felt("g")]}, "readings"),  # not on the path
        ({"readings": [felt("f0"), felt("f0")]}, "readings"),
        ({"interval": Duration(nanos=999_999_999)}, "interval"),
        ({"moments": [at(START_NS), at(START_NS)]}, "moments"),
        ({"moments": [at(START_NS + 10**15)]}, "moments[0]"),
        ({"moments": [at(START_NS + one) for one in range(10_001)]}, "moments"),
        ({"moments": [at(START_NS)], "interval": Duration(seconds=1)}, "moments"),
        ({"temperament_text": "description = 1"}, "temperament_text"),
        ({"temperament_text": "x", "temperament": "default"}, "temperament_text"),
    ],
)
async def test_what_cannot_be_replayed_is_refused(engine: Running, fields: dict[str, object], field: str) -> None:
    await a_conversation(engine)

    failure = await refused(points(engine, **fields))

    assert failure.code is grpc.StatusCode.INVALID_ARGUMENT
    assert failure.message.startswith(field)


async def test_what_is_not_there_cannot_be_replayed(engine: Running) -> None:
    await a_conversation(engine)

    assert (await refused(points(engine, turn_id="nowhere"))).reason == "TURN_NOT_FOUND"
    assert (await refused(points(engine, temperament="nobody"))).reason == "TEMPERAMENT_NOT_FOUND"


async def test_so_many_points_and_no_more(engine: Running) -> None:
    await opened(engine)
    await said(engine, "t", felt("f"))
    engine.clock.pass_s(200_000)
    await said(engine, "u")

    failure = await refused(points(engine, interval=Duration(seconds=1)))

    assert failure.message.startswith("interval: would give 200,000 points")


async def test_an_event_that_the_other_temperament_does_not_name_is_refused(engine: Running) -> None:
    await opened(engine)
    gift = state_pb2.Stimulus(stimulus_id="gift", event=state_pb2.Event(name="reward"))
    await engine.stub.AddStimulus(state_pb2.AddStimulusRequest(session_id="s", stimulus=gift))
    text = files("services.state_engine").joinpath("temperaments/predecessor.toml").read_text()

    failure = await refused(points(engine, temperament_text=text.replace("[events.reward]", "[events.lottery]")))

    assert failure.code is grpc.StatusCode.INVALID_ARGUMENT
    assert "event reward" in failure.message
