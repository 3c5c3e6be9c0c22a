"""What cannot be used, for each call: a status, the field's name, and nothing written."""

from __future__ import annotations

import asyncio
import math
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from limbic.affect.v1 import affect_pb2
from limbic.runtime.channels import open_channel
from limbic.runtime.clock import NS_PER_S
from limbic.runtime.errors import failure_of
from limbic.runtime.settings import StateSettings
from limbic.state.v1 import state_pb2
from tests.state_engine.parts import START_NS, Running, reading, refused, running_engine

START_S = START_NS // NS_PER_S
FUTURE = Timestamp(seconds=START_S + 60)
BAD_IDS = {
    "with a space": "two words",
    "with a slash": "a/b",
    "too long": "x" * 129,
    "not ASCII": "tür",
    "with a NUL": "a\x00",
}


def create(**fields: Any) -> state_pb2.CreateSessionRequest:
    return state_pb2.CreateSessionRequest(**fields)


def get(**fields: Any) -> state_pb2.GetStateRequest:
    return state_pb2.GetStateRequest(**{"session_id": "s", **fields})


def record(**fields: Any) -> state_pb2.RecordTurnRequest:
    return state_pb2.RecordTurnRequest(**{"session_id": "s", "turn_id": "new", "text": "words", **fields})


def stimulus(**fields: Any) -> state_pb2.Stimulus:
    given = {"stimulus_id": "f", **fields}
    if "event" not in given and "reading" not in given:
        given["reading"] = reading()
    return state_pb2.Stimulus(**given)


def add(**fields: Any) -> state_pb2.AddStimulusRequest:
    return state_pb2.AddStimulusRequest(session_id="s", turn_id="there", stimulus=stimulus(**fields))


def turns(**fields: Any) -> state_pb2.ListTurnsRequest:
    return state_pb2.ListTurnsRequest(**{"session_id": "s", **fields})


def read(**fields: Any) -> state_pb2.AddStimulusRequest:
    one = reading()
    for name, value in fields.items():
        target, _, attribute = name.rpartition("__")
        setattr(getattr(one, target) if target else one, attribute, value)
    return add(reading=one)


def voicing(*emotions: affect_pb2.Emotion) -> state_pb2.AddStimulusRequest:
    return add(reading=affect_pb2.AffectReading(emotions=emotions))


INVALID: list[tuple[str, Any, str]] = [
    *((f"CreateSession, id {name}", create(session_id=bad), "session_id") for name, bad in BAD_IDS.items()),
    ("CreateSession, temperament that is no name", create(temperament="../default"), "temperament"),
    ("GetState, nothing", state_pb2.GetStateRequest(), "session_id"),
    *((f"GetState, turn {name}", get(turn_id=bad), "turn_id") for name, bad in BAD_IDS.items()),
    ("GetState, the future", get(as_of=FUTURE), "as_of"),
    ("GetState, a unit mistake", get(as_of=Timestamp(seconds=START_S // 1000)), "as_of"),
    ("GetState, no timestamp", get(as_of=Timestamp(seconds=START_S, nanos=-1)), "as_of"),
    ("RecordTurn, nothing", state_pb2.RecordTurnRequest(), "session_id"),
    ("RecordTurn, no turn id", record(turn_id=""), "turn_id"),
    *((f"RecordTurn, session {name}", record(session_id=bad), "session_id") for name, bad in BAD_IDS.items()),
    *((f"RecordTurn, turn {name}", record(turn_id=bad), "turn_id") for name, bad in BAD_IDS.items()),
    *((f"RecordTurn, parent {name}", record(parent_turn_id=bad), "parent_turn_id") for name, bad in BAD_IDS.items()),
    ("RecordTurn, the future", record(occurred_at=FUTURE), "occurred_at"),
    ("RecordTurn, the year 300,000", record(occurred_at=Timestamp(seconds=2**43)), "occurred_at"),
    ("RecordTurn, a role that is none", record(role=7), "role"),
    ("RecordTurn, an enormous text", record(text="a" * 65_537), "text"),
    ("RecordTurn, only white space", record(text=" \n"), "text"),
    ("RecordTurn, a NUL", record(text="a\x00b"), "text"),
    ("RecordTurn, 65 stimuli", record(stimuli=[stimulus(stimulus_id=f"f{n}") for n in range(65)]), "stimuli"),
    ("RecordTurn, one stimulus twice", record(stimuli=[stimulus(), stimulus()]), "stimuli"),
    ("RecordTurn, a bad stimulus", record(stimuli=[stimulus(stimulus_id="g"), add(occurred_at=FUTURE).stimulus]),
     "stimuli[1].occurred_at"),
    ("AddStimulus, nothing", state_pb2.AddStimulusRequest(session_id="s"), "stimulus"),
    ("AddStimulus, no id", add(stimulus_id=""), "stimulus.stimulus_id"),
    *((f"AddStimulus, id {name}", add(stimulus_id=bad), "stimulus.stimulus_id") for name, bad in BAD_IDS.items()),
    ("AddStimulus, no cause", state_pb2.AddStimulusRequest(session_id="s", stimulus=state_pb2.Stimulus(stimulus_id="f")),
     "stimulus.cause"),
    ("AddStimulus, the future", add(occurred_at=FUTURE), "stimulus.occurred_at"),
    *((f"AddStimulus, {axis} {value}", read(**{axis: value}), f"stimulus.reading.{axis}")
      for axis in ("valence", "intimacy", "tension", "confidence") for value in (math.nan, math.inf, -math.inf, 1.01, -1.01)),
    ("AddStimulus, negative confidence", read(confidence=-0.1), "stimulus.reading.confidence"),
    ("AddStimulus, uncertainty NaN", read(uncertainty__tension=math.nan), "stimulus.reading.uncertainty.tension"),
    ("AddStimulus, negative latency", add(reading=affect_pb2.AffectReading(latency=Duration(seconds=-1))),
     "stimulus.reading.latency"),
    ("AddStimulus, an enormous reasoning", read(reasoning="a" * 8_001), "stimulus.reading.reasoning"),
    ("AddStimulus, an enormous head", read(head__id="h" * 129), "stimulus.reading.head.id"),
    ("AddStimulus, 65 emotions", voicing(*(affect_pb2.Emotion(label=f"e{n}") for n in range(65))), "stimulus.reading.emotions"),
    ("AddStimulus, probability NaN", voicing(affect_pb2.Emotion(label="joy", probability=math.nan)),
     "stimulus.reading.emotions[0].probability"),
    ("AddStimulus, probability 2", voicing(affect_pb2.Emotion(label="joy"), affect_pb2.Emotion(label="fear", probability=2)),
     "stimulus.reading.emotions[1].probability"),
    ("AddStimulus, a label that is none", voicing(affect_pb2.Emotion(label="a\nb")), "stimulus.reading.emotions[0].label"),
    ("AddStimulus, a label twice", voicing(affect_pb2.Emotion(label="joy"), affect_pb2.Emotion(label="joy")),
     "stimulus.reading.emotions"),
    ("AddStimulus, an unknown event", add(event=state_pb2.Event(name="lottery")), "stimulus.event.name"),
    ("AddStimulus, an event without a name", add(event=state_pb2.Event()), "stimulus.event.name"),
    *((f"AddStimulus, intensity {value}", add(event=state_pb2.Event(name="reward", intensity=value)), "stimulus.event.intensity")
      for value in (math.nan, -0.1, 1.1)),
    ("DeleteSession, nothing", state_pb2.DeleteSessionRequest(), "session_id"),
    *((f"DeleteSession, id {name}", state_pb2.DeleteSessionRequest(session_id=bad), "session_id") for name, bad in BAD_IDS.items()),
    ("ListTurns, nothing", state_pb2.ListTurnsRequest(), "session_id"),
    ("ListTurns, a negative page", turns(page_size=-1), "page_size"),
    ("ListTurns, an enormous page", turns(page_size=1_001), "page_size"),
    ("ListTurns, a token of ours from elsewhere", turns(page_token="path:there"), "page_token"),
    ("ListTurns, a token that is none", turns(page_token="before:-1"), "page_token"),
    ("ListTurns, a token on a path", turns(path_to_turn_id="there", page_token="path:nowhere"), "page_token"),
]  # fmt: skip

NOT_FOUND: list[tuple[str, Any, str, str]] = [
    ("CreateSession, unknown temperament", create(session_id="x", temperament="no-such"), "temperament", "TEMPERAMENT_NOT_FOUND"),
    ("GetState, unknown session", get(session_id="nowhere"), "session_id", "SESSION_NOT_FOUND"),
    ("GetState, unknown turn", get(turn_id="nowhere"), "turn_id", "TURN_NOT_FOUND"),
    ("RecordTurn, unknown session", record(session_id="nowhere"), "session_id", "SESSION_NOT_FOUND"),
    ("RecordTurn, unknown parent", record(parent_turn_id="nowhere"), "parent_turn_id", "TURN_NOT_FOUND"),
    ("RecordTurn, its own parent", record(parent_turn_id="new"), "parent_turn_id", "TURN_NOT_FOUND"),
    ("AddStimulus, unknown session", state_pb2.AddStimulusRequest(session_id="nowhere", stimulus=stimulus()), "session_id",
     "SESSION_NOT_FOUND"),
    ("AddStimulus, unknown turn", state_pb2.AddStimulusRequest(session_id="s", turn_id="nowhere", stimulus=stimulus()),
     "turn_id", "TURN_NOT_FOUND"),
    ("ListTurns, unknown session", turns(session_id="nowhere"), "session_id", "SESSION_NOT_FOUND"),
    ("ListTurns, unknown turn", turns(path_to_turn_id="nowhere"), "path_to_turn_id", "TURN_NOT_FOUND"),
]  # fmt: skip


def written(journal: Path) -> list[tuple[Any, ...]]:
    connection = sqlite3.connect(f"file:{journal}?mode=ro", uri=True)
    try:
        tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return [(table, *row) for table in sorted(tables) for row in connection.execute(f"SELECT * FROM {table}")]
    finally:
        connection.close()


def call_of(engine: Running, request: Any) -> Callable[[Any], Any]:
    name = type(request).__name__.removesuffix("Request")
    call: Callable[[Any], Any] = getattr(engine.stub, name)
    return call


def raw(channel: grpc.aio.Channel, method: str) -> Any:
    """Return a call that sends and receives bytes."""
    return channel.unary_unary(f"/limbic.state.v1.StateEngineService/{method}", bytes, bytes)


async def prepared(engine: Running) -> list[tuple[Any, ...]]:
    await engine.stub.CreateSession(create(session_id="s"))
    await engine.stub.RecordTurn(record(turn_id="there"))
    return written(engine.journal)


async def test_what_is_invalid_is_refused_by_its_fields_name_and_nothing_is_written(engine: Running) -> None:
    before = await prepared(engine)

    for name, request, field in INVALID:
        failure = await refused(call_of(engine, request)(request))
        assert (failure.code, failure.metadata.get("field")) == (grpc.StatusCode.INVALID_ARGUMENT, field), name
        assert failure.message.startswith(f"{field}: "), name

    assert written(engine.journal) == before


async def test_what_does_not_exist_is_refused_with_its_reason_and_nothing_is_written(engine: Running) -> None:
    before = await prepared(engine)

    for name, request, field, reason in NOT_FOUND:
        failure = await refused(call_of(engine, request)(request))
        assert (failure.code, failure.reason) == (grpc.StatusCode.NOT_FOUND, reason), name
        assert failure.metadata["field"] == field, name

    assert written(engine.journal) == before


@pytest.mark.parametrize(
    ("method", "request_", "field"),
    [
        ("CreateSession", create(session_id="@@@"), "session_id"),
        ("GetState", get(turn_id="@@@"), "turn_id"),
        ("RecordTurn", record(text="@@@"), "text"),
        ("AddStimulus", add(event=state_pb2.Event(name="@@@")), "stimulus.event.name"),
        ("ListTurns", turns(page_token="@@@"), "page_token"),
    ],
)
async def test_text_that_is_no_utf8_is_refused_by_its_fields_name(
    engine: Running, method: str, request_: Any, field: str
) -> None:
    before = await prepared(engine)
    broken = request_.SerializeToString().replace(b"@@@", b"\xff\xfe\xfd")
    # A client library would not let it out, so the bytes go over a plain channel.
    async with open_channel(engine.target) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await raw(channel, method)(broken)

    failure = failure_of(caught.value)
    assert failure.code is grpc.StatusCode.INVALID_ARGUMENT
    assert failure.metadata["field"] == field
    assert written(engine.journal) == before


async def test_a_message_beyond_the_limit_is_refused(engine: Running) -> None:
    before = await prepared(engine)

    async with open_channel(engine.target) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await raw(channel, "RecordTurn")(bytes(4 * 1024 * 1024 + 1))

    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert written(engine.journal) == before


async def test_a_million_stimuli_in_a_turn_are_refused_as_one_message_and_as_many(engine: Running) -> None:
    before = await prepared(engine)
    one = stimulus(stimulus_id="f", event=state_pb2.Event(name="reward")).SerializeToString()
    # The same stimulus a million times, as the bytes of a request: field 8, its length, itself.
    million = record().SerializeToString() + (bytes([8 << 3 | 2, len(one)]) + one) * 1_000_000
    async with open_channel(engine.target) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await raw(channel, "RecordTurn")(million)
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert written(engine.journal) == before

    small = StateSettings(facts_per_session=70)
    async with running_engine(engine.journal.with_name("small.sqlite3"), engine.clock, small) as limited:
        await limited.stub.CreateSession(create(session_id="s"))
        await limited.stub.RecordTurn(record(turn_id="there"))
        for number in range(68):
            await limited.stub.AddStimulus(add(stimulus_id=f"f{number}", event=state_pb2.Event(name="reward")))
        failure = await refused(limited.stub.AddStimulus(add(stimulus_id="more", event=state_pb2.Event(name="reward"))))
        assert (failure.code, failure.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "LIMIT_EXCEEDED")
        state = (await limited.stub.GetState(get())).state
        assert state.revision == 70
        assert all(0.0 <= level.value <= 100.0 for level in state.levels)


async def test_a_cycle_of_parents_cannot_be_made(engine: Running) -> None:
    before = await prepared(engine)
    names = ["a", "b", "c"]
    cycle = [record(turn_id=name, parent_turn_id=names[index - 1]) for index, name in enumerate(names)]
    failures = [refused(engine.stub.RecordTurn(request)) for request in cycle]
    assert {failure.reason for failure in await asyncio.gather(*failures)} == {"TURN_NOT_FOUND"}
    assert written(engine.journal) == before

    # Nor afterwards: a turn's parent stands for good.
    await engine.stub.RecordTurn(record(turn_id="a", parent_turn_id="there"))
    await engine.stub.RecordTurn(record(turn_id="b", parent_turn_id="a"))
    failure = await refused(engine.stub.RecordTurn(record(turn_id="a", parent_turn_id="b")))
    assert (failure.code, failure.reason) == (grpc.StatusCode.ALREADY_EXISTS, "TURN_EXISTS")


async def test_no_refusal_repeats_what_was_said(engine: Running) -> None:
    await prepared(engine)
    canary = "canary-in-a-coal-mine"
    await engine.stub.RecordTurn(record(turn_id="t", text=canary))

    for request in (
        record(turn_id="t", text="something else"),
        record(turn_id="new", text=f"{canary}\x00"),
        read(reasoning=f"{canary}\x00"),
    ):
        failure = await refused(call_of(engine, request)(request))
        assert canary not in failure.message + repr(failure.metadata)
