"""Several turns recorded in one step."""

from __future__ import annotations

import grpc
import pytest

from limbic.state.v1 import state_pb2
from tests.state_engine.calls import S, felt, opened, said, state_at
from tests.state_engine.parts import Running, refused, values


def turn(turn_id: str, parent: str, *stimuli: state_pb2.Stimulus, text: str = "words") -> state_pb2.RecordTurnRequest:
    return state_pb2.RecordTurnRequest(turn_id=turn_id, parent_turn_id=parent, text=text, stimuli=stimuli)


def all_of(*turns: state_pb2.RecordTurnRequest, session: str = S) -> state_pb2.RecordTurnsRequest:
    return state_pb2.RecordTurnsRequest(session_id=session, turns=turns)


async def listed(engine: Running) -> list[tuple[str, str]]:
    found = await engine.stub.ListTurns(state_pb2.ListTurnsRequest(session_id=S))
    return [(one.turn_id, one.parent_turn_id) for one in found.turns]


async def test_turns_at_once_are_as_turns_one_after_the_other(engine: Running) -> None:
    await opened(engine)
    await opened(engine, "other")
    await said(engine, "a", felt("f"), parent="", session="other")
    one_by_one = await said(engine, "b", felt("g", 0.5), parent="a", session="other")

    answer = await engine.stub.RecordTurns(all_of(turn("a", "", felt("f")), turn("b", "a", felt("g", 0.5))))

    assert answer.recorded == 2
    assert values(answer.state) == values(one_by_one)
    assert (answer.state.turn_id, answer.state.revision) == ("b", one_by_one.revision)
    assert await listed(engine) == [("a", ""), ("b", "a")]


async def test_what_is_recorded_already_is_passed_over(engine: Running) -> None:
    await opened(engine)
    wanted = all_of(turn("a", "", felt("f")), turn("b", "a"), turn("c", "b", felt("g")))
    await engine.stub.RecordTurns(all_of(*wanted.turns[:2]))
    first = await engine.stub.RecordTurns(wanted)
    second = await engine.stub.RecordTurns(wanted)

    assert (first.recorded, second.recorded) == (1, 0)
    assert values(first.state) == values(second.state)
    assert len(await listed(engine)) == 3


@pytest.mark.parametrize(
    ("turns", "code"),
    [
        ([turn("a", ""), turn("b", "nowhere")], grpc.StatusCode.NOT_FOUND),
        ([turn("a", ""), turn("c", "b"), turn("b", "a")], grpc.StatusCode.NOT_FOUND),
        ([turn("a", ""), turn("there", "a")], grpc.StatusCode.ALREADY_EXISTS),
        ([turn("a", ""), turn("there", "", text="other words")], grpc.StatusCode.ALREADY_EXISTS),
        ([turn("a", "", felt("same")), turn("b", "a", felt("same"))], grpc.StatusCode.INVALID_ARGUMENT),
        ([turn("a", ""), turn("a", "")], grpc.StatusCode.INVALID_ARGUMENT),
        ([turn("a", ""), state_pb2.RecordTurnRequest(turn_id="b")], grpc.StatusCode.INVALID_ARGUMENT),
        (
            [turn("a", ""), state_pb2.RecordTurnRequest(session_id="other", turn_id="b", parent_turn_id="a")],
            grpc.StatusCode.INVALID_ARGUMENT,
        ),
        ([], grpc.StatusCode.INVALID_ARGUMENT),
    ],
)
async def test_all_are_recorded_or_none(
    engine: Running, turns: list[state_pb2.RecordTurnRequest], code: grpc.StatusCode
) -> None:
    await opened(engine)
    await said(engine, "there", parent="")
    before = (await state_at(engine)).revision

    failure = await refused(engine.stub.RecordTurns(all_of(*turns)))

    assert failure.code == code
    assert (await state_at(engine)).revision == before


async def test_a_field_is_named_with_its_turn(engine: Running) -> None:
    failure = await refused(engine.stub.RecordTurns(all_of(turn("a", ""), turn("no id", "a"))))

    assert failure.metadata["field"] == "turns[1].turn_id"


async def test_a_thousand_are_one_step_and_survive(engine: Running) -> None:
    await opened(engine)
    many = [turn(f"t{number}", f"t{number - 1}" if number else "") for number in range(1_001)]

    answer = await engine.stub.RecordTurns(all_of(*many[:1_000]))
    failure = await refused(engine.stub.RecordTurns(all_of(*many)))

    assert answer.recorded == 1_000
    assert failure.metadata["field"] == "turns"
    assert len(await listed(engine)) == 100
