"""What the openai upstream makes of a real HTTP server that misbehaves before its first words: which class, how many tries."""

from __future__ import annotations

import asyncio
import socket

import grpc
import pytest

from limbic.llm.v1 import llm_pb2, llm_pb2_grpc
from tests.living_llm.fake_openai import Exchange, FakeOpenAI, Script, say_hello
from tests.living_llm.misbehaviour import (
    assert_failed,
    bare_error,
    begun,
    comments,
    empty_reply,
    endless_line,
    enormous_chunk,
    enormous_refusal,
    error_object,
    error_with_200,
    half_a_character,
    hang,
    heard_from,
    html,
    html_of_a_proxy,
    just_end,
    no_json,
    no_utf8,
    only_thoughts,
    refusing,
    reset,
    whole_reply,
)
from tests.living_llm.service import SetClock, hear, openai_settings, request, serving


async def test_a_server_that_refuses_the_connection_is_tried_to_the_end() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/v1"
        async with serving(openai_settings(url, retry_attempts=3, circuit_failures=100)) as stub:
            heard = await hear(stub, request())

    assert_failed(heard, grpc.StatusCode.UNAVAILABLE, "UPSTREAM_UNAVAILABLE", "transient")
    assert heard.failure is not None
    assert heard.failure.metadata["failureKind"] == "refused"
    assert heard.failure.retry_after is not None


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
async def test_what_can_pass_is_tried_again_and_every_try_is_reported(status: int) -> None:
    heard, fake = await heard_from(refusing(status, "sorry"), refusing(status, {"message": "sorry"}), say_hello)

    assert heard.text == "Hello!"
    assert len(fake.exchanges) == 3
    assert heard.done is not None
    failure_class = "overloaded" if status == 429 else "transient"
    assert [attempt.failure_class for attempt in heard.done.attempts] == [failure_class, failure_class, ""]
    assert f"status {status}" in heard.done.attempts[0].detail
    assert "sorry" not in heard.done.attempts[0].detail


async def test_a_server_that_loads_its_model_is_waited_for() -> None:
    loading = refusing(503, {"code": 503, "message": "Loading model", "type": "unavailable_error"})

    heard, fake = await heard_from(loading, loading, say_hello)

    assert heard.text == "Hello!"
    assert len(fake.exchanges) == 3


async def test_an_overloaded_server_ends_in_resource_exhausted() -> None:
    heard, fake = await heard_from(refusing(429, {"message": "slow down"}), retry_attempts=2)

    assert_failed(heard, grpc.StatusCode.RESOURCE_EXHAUSTED, "UPSTREAM_OVERLOADED", "overloaded")
    assert len(fake.exchanges) == 2


async def test_a_retry_after_beyond_the_deadline_is_passed_on_instead_of_waited_for() -> None:
    heard, fake = await heard_from(refusing(429, "busy", retry_after="120"))

    assert_failed(heard, grpc.StatusCode.RESOURCE_EXHAUSTED, "UPSTREAM_OVERLOADED", "overloaded")
    assert heard.failure is not None
    assert heard.failure.retry_after == 120.0
    assert len(fake.exchanges) == 1


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, {"message": "bad", "type": "BadRequestError", "code": 400}),
        (401, {"message": "who are you", "type": "authentication_error"}),
        (403, "no"),
        (404, {"message": "no such model", "type": "not_found_error"}),
        (429, {"message": "pay", "code": "insufficient_quota"}),
        (301, None),
    ],
)
async def test_a_refusal_is_not_tried_again(status: int, error: object) -> None:
    heard, fake = await heard_from(refusing(status, error))

    assert_failed(heard, grpc.StatusCode.FAILED_PRECONDITION, "UPSTREAM_REJECTED", "rejected")
    assert len(fake.exchanges) == 1


async def test_a_server_that_hangs_before_its_headers_times_out_and_is_let_go() -> None:
    closed = asyncio.Event()

    async def script(exchange: Exchange) -> None:
        await exchange.gone()
        closed.set()

    async with FakeOpenAI([script]) as fake, serving(openai_settings(fake.url, first_delta_timeout_s=0.5)) as stub:
        heard = await hear(stub, request())
        await asyncio.wait_for(closed.wait(), 5.0)

    assert_failed(heard, grpc.StatusCode.DEADLINE_EXCEEDED, "UPSTREAM_TIMEOUT", "transient")
    assert len(fake.exchanges) == 1


async def test_comments_do_not_count_as_words() -> None:
    heard, _ = await heard_from(begun(comments), first_delta_timeout_s=0.1)

    assert_failed(heard, grpc.StatusCode.DEADLINE_EXCEEDED, "UPSTREAM_TIMEOUT", "transient")


@pytest.mark.parametrize(
    "then", [reset, error_object, bare_error, half_a_character, just_end, empty_reply, only_thoughts]
)
async def test_what_breaks_before_the_first_word_is_tried_again(then: Script) -> None:
    heard, fake = await heard_from(begun(then), say_hello)

    assert heard.text == "Hello!"
    assert len(fake.exchanges) == 2
    assert heard.done is not None
    assert [attempt.failure_class for attempt in heard.done.attempts] == ["transient", ""]


@pytest.mark.parametrize(
    "script", [html, whole_reply, begun(no_json), begun(no_utf8), begun(enormous_chunk), begun(endless_line)]
)
async def test_what_is_no_answer_is_not_tried_again(script: Script) -> None:
    heard, fake = await heard_from(script)

    assert_failed(heard, grpc.StatusCode.INTERNAL, "UPSTREAM_INVALID", "invalid")
    assert len(fake.exchanges) == 1


@pytest.mark.parametrize("script", [html_of_a_proxy, enormous_refusal])
async def test_a_refusal_is_classified_by_its_status_whatever_its_body_holds(script: Script) -> None:
    heard, fake = await heard_from(script, say_hello)

    assert heard.text == "Hello!"
    assert len(fake.exchanges) == 2


async def test_an_error_object_with_the_status_of_a_success_is_an_error() -> None:
    heard, fake = await heard_from(error_with_200, retry_attempts=2)

    assert_failed(heard, grpc.StatusCode.RESOURCE_EXHAUSTED, "UPSTREAM_OVERLOADED", "overloaded")
    assert len(fake.exchanges) == 2


async def test_an_enormous_list_of_models_is_no_answer() -> None:
    async def script(exchange: Exchange) -> None:
        await exchange.head(200, "application/json")
        await exchange.raw(b'{"data": [' + b" " * 10_000_000)

    async with FakeOpenAI([script]) as fake:
        settings = openai_settings(fake.url)
        upstream = settings.upstream.model_copy(update={"model": ""})
        async with serving(settings.model_copy(update={"upstream": upstream})) as stub:
            heard = await hear(stub, request())

    assert_failed(heard, grpc.StatusCode.INTERNAL, "UPSTREAM_INVALID", "invalid")


async def test_a_retry_after_that_leaves_room_is_waited_for() -> None:
    heard, fake = await heard_from(refusing(429, "busy", retry_after="0"), say_hello)

    assert heard.text == "Hello!"
    assert len(fake.exchanges) == 2


async def test_too_short_a_deadline_of_the_caller_says_nothing_against_the_server() -> None:
    async with FakeOpenAI([hang]) as fake, serving(openai_settings(fake.url, circuit_failures=1)) as stub:
        heard = await hear(stub, request(), timeout_s=0.2)
        described = await stub.GetModel(llm_pb2.GetModelRequest())

    assert heard.failure is not None
    assert heard.failure.code is grpc.StatusCode.DEADLINE_EXCEEDED
    assert described.upstreams[0].circuit == "closed"


async def test_the_circuit_opens_and_a_probe_closes_it() -> None:
    clock = SetClock()
    async with FakeOpenAI([refusing(500, "down"), refusing(500, "down"), say_hello]) as fake:
        settings = openai_settings(fake.url, retry_attempts=1, circuit_failures=2, circuit_open_s=60.0)
        async with serving(settings, clock=clock) as stub:
            circuits = []
            for _ in range(2):
                await hear(stub, request())
                circuits.append(await circuit_of(stub))
            refused = await hear(stub, request())
            asked = len(fake.exchanges)
            clock.at += 60.0
            circuits.append(await circuit_of(stub))
            heard = await hear(stub, request())
            circuits.append(await circuit_of(stub))

    assert circuits == ["closed", "open", "half_open", "closed"]
    assert_failed(refused, grpc.StatusCode.UNAVAILABLE, "UPSTREAM_UNAVAILABLE", "transient")
    assert refused.failure is not None
    assert refused.failure.metadata["failureKind"] == "circuit_open"
    assert asked == 2
    assert heard.text == "Hello!"


async def circuit_of(stub: llm_pb2_grpc.LivingLlmServiceAsyncStub) -> str:
    described = await stub.GetModel(llm_pb2.GetModelRequest())
    return described.upstreams[0].circuit
