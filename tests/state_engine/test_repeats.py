"""Ids are the idempotency keys: the same again changes nothing, something else under a known id is refused and the first stands."""

from __future__ import annotations

import asyncio
import sqlite3

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from limbic.runtime.clock import NS_PER_S
from limbic.state.v1 import state_pb2
from tests.state_engine.calls import facts_in, felt, opened, turn
from tests.state_engine.parts import START_NS, Running, refused, values


async def test_the_engine_names_a_session_that_has_no_name(engine: Running) -> None:
    first = await engine.stub.CreateSession(state_pb2.CreateSessionRequest())
    second = await engine.stub.CreateSession(state_pb2.CreateSessionRequest())

    assert first.session.session_id != second.session.session_id


async def test_opening_a_session_twice_is_one_session_and_other_settings_are_refused(engine: Running) -> None:
    create = engine.stub.CreateSession
    responses = await asyncio.gather(*(create(state_pb2.CreateSessionRequest(session_id="s")) for _ in range(16)))

    assert sorted(response.existed for response in responses) == [False] + [True] * 15
    for request, field in (
        (state_pb2.CreateSessionRequest(session_id="s", temperament="predecessor"), "temperament"),
        (state_pb2.CreateSessionRequest(session_id="s", keep_text=False), "keep_text"),
    ):
        failure = await refused(create(request))
        assert (failure.code, failure.reason) == (grpc.StatusCode.ALREADY_EXISTS, "SESSION_EXISTS")
        assert failure.metadata["field"] == field


async def test_a_repeated_turn_is_felt_once(engine: Running) -> None:
    await opened(engine)
    request = turn("t", stimuli=[felt("f")])
    first = await engine.stub.RecordTurn(request)
    engine.clock.pass_s(5)

    again = await engine.stub.RecordTurn(request)

    assert again.duplicate
    assert again.state.revision == first.state.revision == 3
    assert values(again.state)["cortisol"] < values(first.state)["cortisol"]


async def test_a_repeated_turn_with_a_new_stimulus_records_just_that(engine: Running) -> None:
    await opened(engine)
    said_at = engine.clock.now
    await engine.stub.RecordTurn(turn("t", stimuli=[felt("f")]))
    engine.clock.pass_s(60)

    again = await engine.stub.RecordTurn(turn("t", stimuli=[felt("f"), felt("g")]))

    listed = await engine.stub.ListTurns(state_pb2.ListTurnsRequest(session_id="s"))
    assert not again.duplicate
    assert again.state.revision == 4
    assert [stimulus.stimulus_id for stimulus in listed.turns[0].stimuli] == ["f", "g"]
    # A reading without a time belongs to the moment of its words, however late it comes.
    assert listed.turns[0].stimuli[1].occurred_at.ToNanoseconds() == said_at


@pytest.mark.parametrize(
    ("field", "changed"),
    [
        ("text", {"text": "other words"}),
        ("role", {"role": state_pb2.ROLE_ASSISTANT}),
        ("cut", {"cut": True}),
        ("parent_turn_id", {"parent_turn_id": ""}),
        ("occurred_at", {"occurred_at": Timestamp(seconds=START_NS // NS_PER_S - 1)}),
    ],
)
async def test_a_turn_id_that_means_something_else_is_refused_and_the_first_stands(
    engine: Running, field: str, changed: dict[str, object]
) -> None:
    await opened(engine)
    await engine.stub.RecordTurn(turn("p"))
    await engine.stub.RecordTurn(turn("t", parent="p"))
    written = facts_in(engine.journal)
    request = turn("t", parent="p", stimuli=[felt("new")])
    for name, value in changed.items():
        if isinstance(value, Timestamp):
            request.occurred_at.CopyFrom(value)
        else:
            setattr(request, name, value)

    failure = await refused(engine.stub.RecordTurn(request))

    assert (failure.code, failure.reason) == (grpc.StatusCode.ALREADY_EXISTS, "TURN_EXISTS")
    assert failure.metadata["field"] == field
    assert facts_in(engine.journal) == written


async def test_a_stimulus_id_that_means_something_else_is_refused_and_the_first_stands(engine: Running) -> None:
    await opened(engine)
    await engine.stub.RecordTurn(turn("t", stimuli=[felt("f")]))
    await engine.stub.RecordTurn(turn("u"))
    written = facts_in(engine.journal)
    timed = felt("f")
    timed.occurred_at.FromNanoseconds(START_NS - 1)
    event = state_pb2.Stimulus(stimulus_id="f", event=state_pb2.Event(name="reward"))

    for turn_id, stimulus, field in (
        ("t", felt("f", -0.81), "cause"),
        ("t", event, "cause"),
        ("u", felt("f"), "turn_id"),
        ("t", timed, "occurred_at"),
    ):
        request = state_pb2.AddStimulusRequest(session_id="s", turn_id=turn_id, stimulus=stimulus)
        failure = await refused(engine.stub.AddStimulus(request))
        assert (failure.code, failure.reason) == (grpc.StatusCode.ALREADY_EXISTS, "STIMULUS_EXISTS")
        assert failure.metadata["field"] == field
    assert facts_in(engine.journal) == written


async def test_what_a_head_says_about_itself_does_not_make_a_retry_another(engine: Running) -> None:
    await opened(engine)
    await engine.stub.RecordTurn(turn("t", stimuli=[felt("f")]))
    slower = felt("f")
    slower.reading.latency.FromMilliseconds(12)
    slower.reading.reasoning = "in other words"

    again = await engine.stub.AddStimulus(state_pb2.AddStimulusRequest(session_id="s", stimulus=slower))

    assert again.duplicate


async def test_the_journal_knows_better_than_the_memory(engine: Running) -> None:
    await opened(engine)
    connection = sqlite3.connect(engine.journal)
    connection.execute(
        "INSERT INTO turns VALUES (1, 2, 't', '', 1, ?, ?, 'words of t', 0)", (engine.clock.now, engine.clock.now)
    )
    connection.commit()
    connection.close()

    # The memory finds it new, the journal does not, and what stands there decides.
    failure = await refused(engine.stub.RecordTurn(turn("t", cut=True)))

    assert (failure.code, failure.reason) == (grpc.StatusCode.ALREADY_EXISTS, "TURN_EXISTS")
    assert (await engine.stub.RecordTurn(turn("t"))).duplicate
