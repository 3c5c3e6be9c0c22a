from __future__ import annotations

from collections.abc import Callable
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration

from limbic.gateway.v1 import gateway_pb2
from limbic.llm.v1 import llm_pb2
from limbic.runtime.channels import open_channel
from limbic.runtime.errors import failure_of
from limbic.state.v1 import state_pb2
from tests.end_to_end.calls import ANSWER_S, Calls
from tests.end_to_end.stack import Stack

SESSION = "bad-input"
WORDS = "Hello."


def request(**fields: Any) -> gateway_pb2.TurnRequest:
    return gateway_pb2.TurnRequest(**{"session_id": SESSION, "text": WORDS, **fields})


def options(**fields: Any) -> gateway_pb2.TurnRequest:
    return request(options=gateway_pb2.TurnOptions(**fields))


INVALID: dict[str, tuple[gateway_pb2.TurnRequest, str]] = {
    "empty": (request(text=""), "text"),
    "only white space": (request(text=" \n\t"), "text"),
    "enormous": (request(text="a" * 8_001), "text"),
    "a NUL": (request(text="a\x00b"), "text"),
    "a session id that is none": (request(session_id="two words"), "session_id"),
    "a session id without end": (request(session_id="s" * 129), "session_id"),
    "a turn id that is none": (request(turn_id="tür"), "turn_id"),
    "a parent id that is none": (request(parent_turn_id="a/b"), "parent_turn_id"),
    "an enormous persona": (request(persona="p" * 16_001), "persona"),
    "a negative window": (options(affect_window=Duration(seconds=-1)), "options.affect_window"),
    "a broken duration": (options(affect_window=Duration(nanos=-(2**31))), "options.affect_window"),
    "a temperature beyond all bounds": (
        options(sampling=llm_pb2.Sampling(temperature=9)),
        "options.sampling.temperature",
    ),
    "a temperature that is no number": (
        options(sampling=llm_pb2.Sampling(temperature=float("nan"))),
        "options.sampling.temperature",
    ),
    "a stop without an end": (options(sampling=llm_pb2.Sampling(stop=["s" * 129])), "options.sampling.stop"),
    # These three only the living LLM can tell: it knows its styles and its model's window. The words are of many tokens each.
    "an unknown style": (options(style="no-such-style"), "options.style"),
    "a persona beyond the window": (request(persona="word " * 3_200), "persona"),
    "words beyond the window": (request(text="\N{SNOWMAN}" * 8_000), "text"),
    "an unknown temperament": (options(temperament="no-such-temperament"), "options.temperament"),
}


async def refusal(call: Callable[[], Any]) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        async for _ in call():
            pass
    return caught.value


async def nothing_was_written(calls: Calls, session_id: str) -> None:
    """The words of a refused turn are in no journal, and nor is the session that they would have opened."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await calls.state.ListTurns(state_pb2.ListTurnsRequest(session_id=session_id), timeout=ANSWER_S)
    assert failure_of(caught.value).reason == "SESSION_NOT_FOUND"


@pytest.mark.parametrize("name", INVALID)
async def test_a_turn_that_cannot_be_is_refused_by_the_name_of_its_field(calls: Calls, name: str) -> None:
    await calls.until_well()
    bad, field = INVALID[name]
    own_session = f"bad-{name.replace(' ', '-')}"
    if bad.session_id == SESSION:
        bad.session_id = own_session
    error = await refusal(lambda: calls.gateway.Turn(bad, timeout=ANSWER_S))

    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert failure_of(error).metadata["field"] == field
    assert field in (error.details() or "")
    await nothing_was_written(calls, own_session)


async def test_words_that_are_no_utf8_are_refused_by_the_name_of_their_field(stack: Stack, calls: Calls) -> None:
    broken = (
        request(session_id="bad-bytes").SerializeToString().replace(WORDS.encode(), b"\xff\xfe" + WORDS.encode()[2:])
    )
    async with open_channel(stack.settings.gateway.listen) as channel:
        method = channel.unary_stream("/limbic.gateway.v1.GatewayService/Turn", None, None)
        error = await refusal(lambda: method(broken, timeout=ANSWER_S))

    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert failure_of(error).metadata["field"] == "text"
    await nothing_was_written(calls, "bad-bytes")


async def test_a_parent_in_a_session_that_does_not_exist_is_not_found(calls: Calls) -> None:
    bad = request(session_id="nobody-knows", parent_turn_id="some-turn")
    error = await refusal(lambda: calls.gateway.Turn(bad, timeout=ANSWER_S))

    assert error.code() is grpc.StatusCode.NOT_FOUND
    assert failure_of(error).metadata["field"] == "session_id"


async def test_a_parent_that_does_not_exist_is_not_found(calls: Calls) -> None:
    opened = state_pb2.CreateSessionRequest(session_id="bad-parent")
    await calls.state.CreateSession(opened, timeout=ANSWER_S)
    bad = request(session_id="bad-parent", parent_turn_id="some-turn")
    error = await refusal(lambda: calls.gateway.Turn(bad, timeout=ANSWER_S))

    assert error.code() is grpc.StatusCode.NOT_FOUND
    assert failure_of(error).metadata["field"] == "parent_turn_id"
    listed = await calls.state.ListTurns(state_pb2.ListTurnsRequest(session_id="bad-parent"), timeout=ANSWER_S)
    assert not listed.turns


async def test_a_message_beyond_the_size_limit_is_refused(stack: Stack, calls: Calls) -> None:
    enormous = request(session_id="bad-size", text="a" * (stack.settings.gateway.max_message_bytes + 1))
    error = await refusal(lambda: calls.gateway.Turn(enormous, timeout=ANSWER_S))

    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    await nothing_was_written(calls, "bad-size")
