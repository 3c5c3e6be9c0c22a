"""The openai upstream against a real HTTP server that misbehaves on purpose, heard through the real gRPC service."""

from __future__ import annotations

import asyncio
import json
import socket
from pathlib import Path

import grpc
import pytest

from limbic.llm.v1 import llm_pb2
from limbic.state.v1 import state_pb2
from tests.living_llm.fake_openai import Exchange, FakeOpenAI, Script, say_hello
from tests.living_llm.service import PERSONA, Heard, character, hear, openai_settings, request, serving, user


async def heard_from(*scripts: Script, **changes: object) -> tuple[Heard, FakeOpenAI]:
    async with FakeOpenAI(scripts) as fake, serving(openai_settings(fake.url, **changes)) as stub:
        return await hear(stub, request()), fake


def refusing(status: int, error: object, **headers: str) -> Script:
    async def script(exchange: Exchange) -> None:
        await exchange.refuse(status, error, **headers)

    return script


def saying_first(then: Script) -> Script:
    async def script(exchange: Exchange) -> None:
        await exchange.head()
        await exchange.words("Once upon")
        await then(exchange)

    return script


async def hang(exchange: Exchange) -> None:
    await exchange.gone()


async def reset(exchange: Exchange) -> None:
    exchange.reset()


def assert_failed(heard: Heard, code: grpc.StatusCode, reason: str, failure_class: str) -> None:
    assert heard.failure is not None
    assert (heard.failure.code, heard.failure.reason) == (code, reason)
    assert heard.failure.metadata["failureClass"] == failure_class


async def test_a_reply_streams_through() -> None:
    heard, fake = await heard_from(say_hello)

    assert heard.text == "Hello!"
    assert heard.started is not None
    assert (heard.started.upstream, heard.started.model) == ("openai", "fake-7b")
    assert heard.done is not None
    assert heard.done.finish_reason == llm_pb2.FINISH_REASON_STOP
    assert heard.done.usage == llm_pb2.Usage(prompt_tokens=20, cached_tokens=12, completion_tokens=2)
    assert [attempt.failure_class for attempt in heard.done.attempts] == [""]
    assert fake.exchanges[0].path == "/v1/chat/completions"


async def test_the_request_holds_the_prompt_and_the_sampling_in_force() -> None:
    felt = llm_pb2.Expression(
        levels=[state_pb2.Level(name="oxytocin", value=65.0, baseline=40.0, band=state_pb2.BAND_SURGING)]
    )
    wishes = llm_pb2.Sampling(temperature=0.25, stop=["END"], seed=3)
    async with FakeOpenAI([say_hello]) as fake, serving(openai_settings(fake.url)) as stub:
        wanted = request(user("Hi"), character("Hey"), user("So?"), expression=felt, sampling=wishes)
        heard = await hear(stub, wanted)
        body = fake.exchanges[0].body

    assert [message["role"] for message in body["messages"]] == ["system", "user", "assistant", "user"]
    assert body["messages"][0]["content"].startswith(PERSONA)
    assert body["messages"][1]["content"] == "Hi"
    assert body["messages"][3]["content"] == "So?\n\n⟦Be very tender and affectionate.⟧"
    assert (body["temperature"], body["stop"], body["seed"], body["stream"]) == (0.25, ["END"], 3, True)
    assert body["frequency_penalty"] == pytest.approx(0.05)
    assert heard.started is not None
    assert heard.started.sampling.temperature == 0.25
    assert heard.started.sampling.frequency_penalty == pytest.approx(0.05)


async def test_the_key_is_sent_as_a_bearer_token_and_read_from_its_file(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text("sk-secret\n")
    async with FakeOpenAI([say_hello]) as fake:
        settings = openai_settings(fake.url)
        upstream = settings.upstream.model_copy(update={"api_key_file": file})
        async with serving(settings.model_copy(update={"upstream": upstream})) as stub:
            await hear(stub, request())

    assert fake.exchanges[0].headers["authorization"] == "Bearer sk-secret"


async def test_no_proxy_of_the_environment_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")

    heard, _ = await heard_from(say_hello)

    assert heard.text == "Hello!"


async def test_without_a_configured_model_the_server_is_asked_once() -> None:
    async def list_models(exchange: Exchange) -> None:
        await exchange.head(200, "application/json")
        await exchange.raw(json.dumps({"data": [{"id": "listed-1b"}, {"id": "other"}]}).encode())
        await exchange.end()

    async with FakeOpenAI([list_models, say_hello]) as fake:
        settings = openai_settings(fake.url)
        upstream = settings.upstream.model_copy(update={"model": ""})
        async with serving(settings.model_copy(update={"upstream": upstream})) as stub:
            await hear(stub, request())
            await hear(stub, request())
            described = await stub.GetModel(llm_pb2.GetModelRequest())

    assert [exchange.path for exchange in fake.exchanges] == ["/v1/models"] + ["/v1/chat/completions"] * 2
    assert fake.exchanges[1].body["model"] == "listed-1b"
    assert described.upstreams[0].model == "listed-1b"


async def test_dialects_are_understood() -> None:
    async def script(exchange: Exchange) -> None:
        await exchange.head()
        await exchange.raw(b":\n\n: keep-alive\n\nevent: message\n\n")
        await exchange.payload({"choices": [{"delta": {"reasoning_content": "hm", "reasoning": "hm"}}]})
        await exchange.payload({"choices": [{"delta": {"content": None}}], "usage": None})
        # Cut between two bytes of a character, and in the middle of a line.
        data = 'data: {"choices": [{"delta": {"content": "Ünd "}}]}\r\n\r\n'.encode()
        cut = data.index("Ü".encode()) + 1
        await exchange.raw(data[:cut])
        await exchange.raw(data[cut:])
        # A character above U+FFFF, as two escapes in two chunks.
        await exchange.raw(b'data: {"choices": [{"delta": {"content": "\\ud83d"}}]}\n\n')
        await exchange.raw(b'data: {"choices": [{"delta": {"content": "\\ude00"}, "finish_reason": "length"}]}\n\n')
        timings = {"cache_n": 30, "prompt_n": 4, "predicted_n": 5}
        await exchange.payload({"choices": [], "timings": timings})
        await exchange.end()

    heard, _ = await heard_from(script)

    assert heard.text == "Ünd 😀"
    assert heard.done is not None
    assert heard.done.finish_reason == llm_pb2.FINISH_REASON_LENGTH
    assert heard.done.usage == llm_pb2.Usage(prompt_tokens=34, cached_tokens=30, completion_tokens=5)


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

    async with FakeOpenAI([script]) as fake, serving(openai_settings(fake.url, first_delta_timeout_s=0.1)) as stub:
        heard = await hear(stub, request())
        await asyncio.wait_for(closed.wait(), 5.0)

    assert_failed(heard, grpc.StatusCode.DEADLINE_EXCEEDED, "UPSTREAM_TIMEOUT", "transient")
    assert len(fake.exchanges) == 1


async def test_comments_do_not_count_as_words() -> None:
    async def script(exchange: Exchange) -> None:
        await exchange.head()
        await exchange.raw(b": still here\n\n")
        await exchange.gone()

    heard, _ = await heard_from(script, first_delta_timeout_s=0.1)

    assert_failed(heard, grpc.StatusCode.DEADLINE_EXCEEDED, "UPSTREAM_TIMEOUT", "transient")


async def error_object(exchange: Exchange) -> None:
    await exchange.payload({"error": {"code": 500, "message": "secret words", "type": "server_error"}})
    await exchange.end()


async def half_a_character(exchange: Exchange) -> None:
    await exchange.raw('data: {"choices": [{"delta": {"content": "ü'.encode()[:-1])
    await exchange.end()


async def just_end(exchange: Exchange) -> None:
    await exchange.end()


async def no_json(exchange: Exchange) -> None:
    await exchange.payload("{broken")


async def no_utf8(exchange: Exchange) -> None:
    await exchange.raw(b'data: {"choices": [{"delta": {"content": "\xff\xfe"}}]}\n\n')


async def enormous(exchange: Exchange) -> None:
    await exchange.raw(b"data: " + b"x" * (2 * 1024 * 1024))


@pytest.mark.parametrize("then", [reset, error_object, half_a_character, just_end, no_json, no_utf8, enormous])
async def test_after_the_first_words_every_failure_is_a_cut_and_nothing_is_tried_again(then: Script) -> None:
    heard, fake = await heard_from(saying_first(then))

    assert heard.text == "Once upon"
    assert_failed(heard, grpc.StatusCode.ABORTED, "GENERATION_CUT", "cut")
    assert heard.failure is not None
    assert "secret" not in heard.failure.message
    assert len(fake.exchanges) == 1


async def test_silence_after_the_first_words_is_a_cut() -> None:
    heard, _ = await heard_from(saying_first(hang), idle_timeout_s=0.1)

    assert heard.text == "Once upon"
    assert_failed(heard, grpc.StatusCode.ABORTED, "GENERATION_CUT", "cut")


def begun(then: Script) -> Script:
    async def script(exchange: Exchange) -> None:
        await exchange.head()
        await then(exchange)

    return script


async def empty_reply(exchange: Exchange) -> None:
    await exchange.words(None, "stop")
    await exchange.payload("[DONE]")
    await exchange.end()


@pytest.mark.parametrize("then", [reset, error_object, half_a_character, just_end, empty_reply])
async def test_what_breaks_before_the_first_word_is_tried_again(then: Script) -> None:
    heard, fake = await heard_from(begun(then), say_hello)

    assert heard.text == "Hello!"
    assert len(fake.exchanges) == 2
    assert heard.done is not None
    assert [attempt.failure_class for attempt in heard.done.attempts] == ["transient", ""]


async def html(exchange: Exchange) -> None:
    await exchange.head(200, "text/html; charset=utf-8")
    await exchange.raw(b"<html><body>Welcome</body></html>")
    await exchange.end()


@pytest.mark.parametrize("script", [html, begun(no_json), begun(no_utf8), begun(enormous)])
async def test_what_is_no_answer_is_not_tried_again(script: Script) -> None:
    heard, fake = await heard_from(script)

    assert_failed(heard, grpc.StatusCode.INTERNAL, "UPSTREAM_INVALID", "invalid")
    assert len(fake.exchanges) == 1


async def test_ollamas_bare_error_line_is_an_error() -> None:
    async def script(exchange: Exchange) -> None:
        await exchange.head()
        await exchange.raw(b'{"error":"an error was encountered while running the model"}\n')
        await exchange.end()

    heard, fake = await heard_from(script, say_hello)

    assert heard.text == "Hello!"
    assert len(fake.exchanges) == 2


async def test_a_reply_that_ends_at_its_ceiling_without_a_word_is_done() -> None:
    async def script(exchange: Exchange) -> None:
        await exchange.head()
        await exchange.words(None, "length")
        await exchange.end()

    heard, _ = await heard_from(script)

    assert heard.kinds == ["started", "done"]
    assert heard.done is not None
    assert heard.done.finish_reason == llm_pb2.FINISH_REASON_LENGTH


async def test_the_circuit_opens_and_a_probe_closes_it() -> None:
    async with FakeOpenAI([refusing(500, "down"), refusing(500, "down"), say_hello]) as fake:
        settings = openai_settings(fake.url, retry_attempts=1, circuit_failures=2, circuit_open_s=0.05)
        async with serving(settings) as stub:
            await hear(stub, request())
            await hear(stub, request())
            refused = await hear(stub, request())
            asked = len(fake.exchanges)
            async with asyncio.timeout(5.0):
                while (heard := await hear(stub, request())).failure is not None:
                    assert heard.failure.reason == "UPSTREAM_UNAVAILABLE"
            described = await stub.GetModel(llm_pb2.GetModelRequest())

    assert_failed(refused, grpc.StatusCode.UNAVAILABLE, "UPSTREAM_UNAVAILABLE", "transient")
    assert refused.failure is not None
    assert refused.failure.metadata["failureKind"] == "circuit_open"
    assert asked == 2
    assert heard.text == "Hello!"
    assert described.upstreams[0].circuit == "closed"


@pytest.mark.parametrize("speaks_first", [True, False])
async def test_when_the_client_goes_away_the_connection_to_the_upstream_is_closed(speaks_first: bool) -> None:
    asked, closed = asyncio.Event(), asyncio.Event()

    async def script(exchange: Exchange) -> None:
        if speaks_first:
            await exchange.head()
            await exchange.words("Once")
        asked.set()
        await exchange.gone()
        closed.set()

    async with FakeOpenAI([script]) as fake, serving(openai_settings(fake.url)) as stub:
        call = stub.Generate(request(), timeout=20.0)
        await asyncio.wait_for(asked.wait(), 5.0)
        if speaks_first:
            await call.read()
            await call.read()
        call.cancel()
        await asyncio.wait_for(closed.wait(), 5.0)

    assert call.cancelled()


async def test_a_client_that_stops_reading_and_goes_away_closes_the_upstream_too() -> None:
    flowing, closed = asyncio.Event(), asyncio.Event()

    async def script(exchange: Exchange) -> None:
        await exchange.head()
        # More than gRPC takes from a handler whose client does not read.
        for _ in range(100):
            await exchange.words("x" * 10_000)
        flowing.set()
        await exchange.gone()
        closed.set()

    async with FakeOpenAI([script]) as fake, serving(openai_settings(fake.url)) as stub:
        call = stub.Generate(request(), timeout=20.0)
        await call.read()
        await asyncio.wait_for(flowing.wait(), 5.0)
        call.cancel()
        await asyncio.wait_for(closed.wait(), 5.0)

    assert call.cancelled()


async def test_a_known_window_cuts_the_history_and_says_so() -> None:
    history = [message for turn in range(40) for message in (user(f"question {turn} " * 5), character("answer " * 10))]
    async with FakeOpenAI([say_hello]) as fake:
        settings = openai_settings(fake.url)
        upstream = settings.upstream.model_copy(update={"context_tokens": 1024})
        async with serving(settings.model_copy(update={"upstream": upstream})) as stub:
            heard = await hear(stub, request(*history, user("last words")))
            refused = await hear(stub, request(user("x" * 5000)))

    assert heard.started is not None
    sent = fake.exchanges[0].body["messages"]
    assert len(sent) - 1 + heard.started.omitted_messages == 81
    assert sent[0]["content"].startswith(PERSONA)
    assert sent[1]["role"] == "user"
    assert sent[-1]["content"] == "last words"
    assert refused.failure is not None
    assert refused.failure.reason == "PROMPT_TOO_LONG"
    assert refused.failure.code is grpc.StatusCode.INVALID_ARGUMENT
