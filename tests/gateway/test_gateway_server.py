"""The gateway over real gRPC, against backends that can be held, can fail, and can die."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration

from gateway.ports import BackendFailure
from gateway.requests import trace_id_of
from limbic.gateway.v1 import gateway_pb2
from limbic.llm.v1 import llm_pb2
from limbic.runtime.errors import failure_of
from tests.gateway.conftest import House
from tests.gateway.fakes import until

Sampling = llm_pb2.Sampling
TurnOptions = gateway_pb2.TurnOptions
ZERO_WINDOW = TurnOptions(affect_window=Duration())


def kinds(events: list[gateway_pb2.TurnResponse]) -> list[str | None]:
    return [event.WhichOneof("event") for event in events]


async def refusal(call: Any) -> Any:
    with pytest.raises(grpc.RpcError) as refused:
        async for _ in call:
            pass
    return failure_of(refused.value)


async def test_a_turn_streams_state_affect_deltas_and_done(house: House) -> None:
    events = await house.say(session_id="", turn_id="t1")

    assert kinds(events) == ["state", "affect", "delta", "delta", "delta", "done"]
    assert events[0].state.turn_id == "t1"
    assert events[1].affect.status == gateway_pb2.AFFECT_STATUS_IN_WINDOW
    assert events[1].affect.state.levels[0].value == pytest.approx(58.0)
    assert "".join(event.delta.text for event in events) == "Hello there."
    done = events[-1].done
    assert (done.finish_reason, done.usage.completion_tokens) == (llm_pb2.FINISH_REASON_STOP, 3)
    stages = {stage.name: stage for stage in done.trace.stages}
    assert [*stages] == [
        "admission",
        "state",
        "affect",
        "check",
        "history",
        "record",
        "first_delta",
        "generate",
        "record_reply",
    ]
    assert stages["record"].deadline.ToNanoseconds() == 5_000_000_000
    assert not stages["admission"].HasField("deadline")
    assert not done.trace.degraded
    assert len(done.trace.trace_id) == 32
    assert done.trace.session_id.startswith("s-")
    assert (done.trace.upstream, done.trace.model) == ("local", "tiny")
    assert house.engine.turns[done.trace.session_id, done.reply_turn_id].text == "Hello there."


async def test_deadlines_are_passed_on_as_budgets(house: House) -> None:
    async for _ in house.stub.Turn(gateway_pb2.TurnRequest(text="hello"), timeout=9.0):
        pass

    # What a handler sees comes from the wall clock and may read a little above what was sent.
    assert all(4.0 < budget <= 5.5 for budget in house.engine.timeouts)
    assert 29.0 < house.head.timeouts[0] <= 30.5
    assert 7.0 < house.model.timeouts[0] <= 9.0 - 0.04


async def test_a_held_reading_is_late_and_changes_the_state_of_its_own_turn(house: House) -> None:
    house.head.release, house.model.hold_at = asyncio.Event(), 1
    call = house.turn(options=ZERO_WINDOW, turn_id="t1")
    events = []
    async for event in call:
        events.append(event)
        if event.HasField("delta") and not house.head.release.is_set():
            house.head.release.set()
        elif event.HasField("late_affect"):
            house.model.release.set()

    assert kinds(events) == ["state", "affect", "delta", "late_affect", "delta", "delta", "done"]
    assert events[1].affect.status == gateway_pb2.AFFECT_STATUS_PENDING
    late = events[3].late_affect
    assert late.status == gateway_pb2.AFFECT_STATUS_LATE
    assert late.lateness.ToNanoseconds() > 0
    assert house.engine.stimuli() == ["t1:reading"]
    telemetry = (await house.snapshot()).window
    assert (telemetry.hits, telemetry.late, telemetry.missed) == (0, 1, 0)
    assert telemetry.lateness_p50.ToNanoseconds() > 0


async def test_a_head_that_is_down_does_not_keep_a_turn_waiting(house: House) -> None:
    await house.head_backend.stop()

    events = await house.say()

    assert events[1].affect.status == gateway_pb2.AFFECT_STATUS_UNAVAILABLE
    assert events[1].affect.reason
    assert events[-1].done.trace.degraded_reasons == ["the affect head could not be reached"]
    assert house.engine.stimuli() == []


async def test_a_head_that_dies_in_mid_turn_costs_its_reading_only(house: House) -> None:
    house.head.release = asyncio.Event()
    call = house.turn(turn_id="t1")
    await until(lambda: house.head.requests)
    await house.head_backend.stop()

    events = [event async for event in call]

    assert events[1].affect.status == gateway_pb2.AFFECT_STATUS_UNAVAILABLE
    assert kinds(events)[-1] == "done"


async def test_what_a_turn_learned_without_the_engine_is_recorded_once_when_it_is_back(house: House) -> None:
    await house.say("one", turn_id="t1")
    facts = len(house.engine.facts)
    await house.engine_backend.stop()
    await house.until_known("state-engine", serving=False)

    events = await house.say("two", turn_id="t2")

    assert events[0].state.degraded
    assert events[0].state.state.levels[0].value == pytest.approx(58.0)
    assert kinds(events)[-1] == "done"
    assert events[-1].done.trace.degraded
    snapshot = await house.snapshot()
    assert (snapshot.spooled_facts, snapshot.turns_degraded_total) == (2, 1)
    assert len(house.engine.facts) == facts

    await house.engine_backend.start()
    await house.until_replayed()
    recovered = await house.say("three", turn_id="t3")

    assert house.engine.stimuli() == ["t1:reading", "t2:reading", "t3:reading"]
    said = [turn.text for turn in house.engine.path("ada", house.engine.tips["ada"])]
    assert said == ["one", "Hello there.", "two", "Hello there.", "three", "Hello there."]
    assert not recovered[0].state.degraded
    assert recovered[0].state.state.levels[0].value == pytest.approx(66.0)


async def test_facts_survive_the_gateway_and_a_torn_end_of_their_file(house: House) -> None:
    await house.say("one", turn_id="t1")
    await house.engine_backend.stop()
    await house.until_known("state-engine", serving=False)
    await house.say("two", turn_id="t2")
    await house.stop()
    segments = sorted((house.directory / "var" / "spool").glob("*.facts"))
    with segments[-1].open("ab") as file:
        file.write(b"\x00\x00\x01\x00torn")
    await house.engine_backend.start()

    await house.start()
    await house.until_replayed()

    assert house.engine.stimuli() == ["t1:reading", "t2:reading"]
    assert [turn.text for turn in house.engine.path("ada", house.engine.tips["ada"])][2:] == ["two", "Hello there."]


async def test_a_client_that_goes_away_stops_the_model_and_is_felt_all_the_same(house: House) -> None:
    house.head.release, house.model.hold_at = asyncio.Event(), 2
    call = house.turn(options=ZERO_WINDOW, turn_id="t1")
    async for event in call:
        if event.HasField("delta") and event.delta.text == " there":
            break
    call.cancel()

    await until(lambda: house.model.running == 0)
    await until(lambda: any(turn.cut for turn in house.engine.turns.values()))
    house.head.release.set()
    await until(lambda: house.engine.stimuli())

    assert house.model.finished == 0
    cut = next(turn for turn in house.engine.turns.values() if turn.cut)
    assert (cut.text, cut.parent_turn_id) == ("Hello there", "t1")
    assert house.engine.stimuli() == ["t1:reading"]


async def test_a_client_that_goes_away_while_deltas_pour_in_stops_the_model(house: House) -> None:
    house.model.words = ["word "] * 200_000
    call = house.turn(turn_id="t1")
    async for event in call:
        if event.HasField("delta"):
            break
    call.cancel()

    await until(lambda: house.model.running == 0)
    await until(lambda: any(turn.cut for turn in house.engine.turns.values()))

    assert house.model.finished == 0


async def test_a_deadline_that_comes_in_mid_reply_is_answered_while_there_is_time(house: House) -> None:
    house.model.hold_at = 1
    call = house.stub.Turn(gateway_pb2.TurnRequest(session_id="ada", text="hello"), timeout=1.0)

    told = await refusal(call)

    # And not DEADLINE_EXCEEDED, which would say nothing: the margin for answering was kept back.
    assert (told.code, told.reason) == (grpc.StatusCode.ABORTED, "GENERATION_CUT")
    assert house.model.running == 0
    assert house.engine.turns["ada", told.metadata["replyTurnId"]].text == "Hello"


async def test_a_model_that_cannot_speak_gives_its_reason_and_its_delay(house: House) -> None:
    house.model.fail_at = -1
    house.model.failure = BackendFailure(
        "RESOURCE_EXHAUSTED", "UPSTREAM_OVERLOADED", retry_after=3.0, metadata={"failureClass": "overloaded"}
    )

    told = await refusal(house.turn())

    assert (told.code, told.reason, told.retry_after) == (
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        "UPSTREAM_OVERLOADED",
        3.0,
    )
    assert told.metadata["failureClass"] == "overloaded"
    assert "scripted" not in told.message


async def test_a_model_that_is_away_is_unavailable_with_a_delay(house: House) -> None:
    await house.model_backend.stop()

    told = await refusal(house.turn(turn_id="t1"))

    assert (told.code, told.reason, told.retry_after) == (grpc.StatusCode.UNAVAILABLE, "UPSTREAM_UNAVAILABLE", 1.0)
    assert house.engine.stimuli() == ["t1:reading"]


async def test_a_reply_that_breaks_off_ends_with_aborted(house: House) -> None:
    house.model.failure, house.model.fail_at = BackendFailure("ABORTED", "GENERATION_CUT"), 2

    told = await refusal(house.turn())

    assert (told.code, told.reason) == (grpc.StatusCode.ABORTED, "GENERATION_CUT")
    assert house.engine.turns["ada", told.metadata["replyTurnId"]].cut


async def test_a_turn_too_many_is_refused_with_a_delay(parts: House) -> None:
    await parts.start(max_turns=1)
    parts.model.hold_at = 0
    first = parts.turn()
    await until(lambda: parts.model.running == 1)

    told = await refusal(parts.turn(session_id="other"))
    parts.model.release.set()
    events = [event async for event in first]

    assert (told.code, told.reason, told.retry_after) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "TOO_MANY_TURNS", 1.0)
    assert kinds(events)[-1] == "done"
    assert "other" not in parts.engine.tips


@pytest.mark.parametrize(
    ("field", "changes"),
    [
        ("text", {"text": ""}),
        ("text", {"text": " \n\t"}),
        ("text", {"text": "x" * 8_001}),
        ("text", {"text": "a\x00b"}),
        ("session_id", {"session_id": "no id"}),
        ("session_id", {"session_id": "x" * 129}),
        ("session_id", {"session_id": "../etc"}),
        ("turn_id", {"turn_id": "ä"}),
        ("parent_turn_id", {"parent_turn_id": "a b"}),
        ("parent_turn_id", {"turn_id": "t1", "parent_turn_id": "t1"}),
        ("persona", {"persona": "x" * 16_001}),
        ("options.affect_window", {"options": TurnOptions(affect_window=Duration(seconds=-1))}),
        ("options.affect_window", {"options": TurnOptions(affect_window=Duration(seconds=3_600))}),
        ("options.affect_window", {"options": TurnOptions(affect_window=Duration(nanos=2_000_000_000))}),
        ("options.style", {"options": TurnOptions(style="no style")}),
        ("options.temperament", {"options": TurnOptions(temperament="../secret")}),
        ("options.temperament", {"options": TurnOptions(temperament="missing")}),
        ("options.sampling.temperature", {"options": TurnOptions(sampling=Sampling(temperature=float("nan")))}),
        ("options.sampling.temperature", {"options": TurnOptions(sampling=Sampling(temperature=2.1))}),
        ("options.sampling.top_p", {"options": TurnOptions(sampling=Sampling(top_p=0.0))}),
        ("options.sampling.frequency_penalty", {"options": TurnOptions(sampling=Sampling(frequency_penalty=-3))}),
        (
            "options.sampling.presence_penalty",
            {"options": TurnOptions(sampling=Sampling(presence_penalty=float("inf")))},
        ),
        ("options.sampling.max_tokens", {"options": TurnOptions(sampling=Sampling(max_tokens=0))}),
        ("options.sampling.max_tokens", {"options": TurnOptions(sampling=Sampling(max_tokens=100_000))}),
        ("options.sampling.stop", {"options": TurnOptions(sampling=Sampling(stop=["x"] * 9))}),
        ("options.sampling.stop", {"options": TurnOptions(sampling=Sampling(stop=[""]))}),
        ("options.sampling.stop", {"options": TurnOptions(sampling=Sampling(stop=["x" * 257]))}),
    ],
)
async def test_bad_input_names_its_field_and_records_nothing(house: House, field: str, changes: dict[str, Any]) -> None:
    told = await refusal(house.turn(**{"text": "hello", **changes}))

    assert (told.code, told.metadata.get("field")) == (grpc.StatusCode.INVALID_ARGUMENT, field)
    assert (house.engine.facts, house.model.requests) == ([], [])


async def test_text_that_is_no_utf8_is_refused_with_its_field(house: House) -> None:
    channel: Any = house.channel
    turn = channel.unary_stream("/limbic.gateway.v1.GatewayService/Turn")

    told = await refusal(turn(b"\x22\x03\xff\xfe\xfd", timeout=5.0))

    assert (told.code, told.metadata["field"]) == (grpc.StatusCode.INVALID_ARGUMENT, "text")
    assert house.engine.calls == []


async def test_an_unknown_parent_is_not_found(house: House) -> None:
    await house.say(turn_id="t1")

    unknown_turn = await refusal(house.turn(parent_turn_id="nowhere"))
    unknown_session = await refusal(house.turn(session_id="nobody", parent_turn_id="t1"))

    assert (unknown_turn.code, unknown_turn.reason) == (grpc.StatusCode.NOT_FOUND, "TURN_NOT_FOUND")
    assert (unknown_session.code, unknown_session.reason) == (grpc.StatusCode.NOT_FOUND, "SESSION_NOT_FOUND")


async def test_the_same_id_with_other_words_already_exists(house: House) -> None:
    await house.say("one", turn_id="t1")

    told = await refusal(house.turn("two", turn_id="t1"))

    assert (told.code, told.reason) == (grpc.StatusCode.ALREADY_EXISTS, "TURN_EXISTS")
    assert "two" not in told.message


async def test_telemetry_shows_readings_latencies_backends_and_upstreams_without_words(house: House) -> None:
    await house.say("a secret", turn_id="t1")
    for name in ("state-engine", "affect-head", "living-llm"):
        await house.until_known(name, serving=True)
    await house.until_seen(lambda seen: len(seen.upstreams))

    snapshot = await house.snapshot()

    (reading,) = snapshot.readings
    assert (reading.turn_id, reading.status, reading.text) == ("t1", gateway_pb2.AFFECT_STATUS_IN_WINDOW, "")
    assert reading.reading.valence == pytest.approx(0.8)
    assert {latency.stage: latency.count for latency in snapshot.latencies}["generate"] == 1
    assert {backend.name: backend.serving for backend in snapshot.backends} == {
        "state-engine": True,
        "affect-head": True,
        "living-llm": True,
    }
    assert [upstream.model for upstream in snapshot.upstreams] == ["tiny"]
    assert snapshot.state.levels[0].value == pytest.approx(58.0)
    assert (snapshot.turns_total, snapshot.turns_in_flight) == (1, 0)
    assert b"a secret" not in snapshot.SerializeToString()


async def test_telemetry_holds_words_if_a_setting_says_so(parts: House) -> None:
    await parts.start(log_text=True)

    await parts.say("no secret")

    assert [reading.text for reading in (await parts.snapshot()).readings] == ["no secret"]


async def test_telemetry_can_be_watched_at_an_interval_that_is_checked(house: House) -> None:
    call = house.stub.WatchTelemetry(gateway_pb2.WatchTelemetryRequest(), timeout=10.0)
    first = await call.read()
    call.cancel()
    request = gateway_pb2.WatchTelemetryRequest(interval=Duration(nanos=1))

    told = await refusal(house.stub.WatchTelemetry(request, timeout=10.0))

    assert first.snapshot.window.window.ToNanoseconds() == 5_000_000_000
    assert (told.code, told.metadata["field"]) == (grpc.StatusCode.INVALID_ARGUMENT, "interval")


async def test_a_watch_ends_when_the_gateway_goes_down(house: House) -> None:
    call = house.stub.WatchTelemetry(gateway_pb2.WatchTelemetryRequest(interval=Duration(seconds=60)), timeout=30.0)
    snapshots = aiter(call)
    await anext(snapshots)

    stopping = asyncio.create_task(house.stop_server())
    told = await refusal(snapshots)
    await stopping

    assert (told.code, told.reason) == (grpc.StatusCode.UNAVAILABLE, "SERVER_DRAINING")
    assert told.retry_after is not None


def test_a_trace_id_is_taken_over_if_it_is_valid() -> None:
    given = "0af7651916cd43dd8448eb211c80319c"

    assert trace_id_of([("traceparent", f"00-{given}-b7ad6b7169203331-01")]) == given
    for bad in ["", "00-xyz", f"00-{'0' * 32}-b7ad6b7169203331-01", f"00-{given}-b7ad6b7169203331"]:
        made = trace_id_of([("traceparent", bad)])
        assert len(made) == 32
        assert made != given
