"""What servers do wrong, as scripts of the real HTTP server, and how it is heard through the real gRPC service."""

from __future__ import annotations

import asyncio
import json

import grpc

from tests.living_llm.fake_openai import Exchange, FakeOpenAI, Script
from tests.living_llm.service import Heard, hear, openai_settings, request, serving

ENORMOUS = 10 * 1024 * 1024


async def heard_from(*scripts: Script, **changes: object) -> tuple[Heard, FakeOpenAI]:
    """Ask once of a server that follows these scripts."""
    async with FakeOpenAI(scripts) as fake, serving(openai_settings(fake.url, **changes)) as stub:
        return await hear(stub, request()), fake


def assert_failed(heard: Heard, code: grpc.StatusCode, reason: str, failure_class: str) -> None:
    """The client was told this."""
    assert heard.failure is not None
    assert (heard.failure.code, heard.failure.reason) == (code, reason)
    assert heard.failure.metadata["failureClass"] == failure_class


def refusing(status: int, error: object, **headers: str) -> Script:
    """Answer with a status and an error object."""

    async def script(exchange: Exchange) -> None:
        await exchange.refuse(status, error, **headers)

    return script


def begun(then: Script) -> Script:
    """Send the headers of a stream, and go on."""

    async def script(exchange: Exchange) -> None:
        await exchange.head()
        await then(exchange)

    return script


def saying_first(then: Script) -> Script:
    """Say the first words, and go on."""

    async def script(exchange: Exchange) -> None:
        await exchange.head()
        await exchange.words("Once upon")
        await then(exchange)

    return script


async def hang(exchange: Exchange) -> None:
    """Say nothing more."""
    await exchange.gone()


async def reset(exchange: Exchange) -> None:
    """Break the connection off."""
    exchange.reset()


async def error_object(exchange: Exchange) -> None:
    """Fail inside the stream, without a [DONE]."""
    await exchange.payload({"error": {"code": 500, "message": "secret words", "type": "server_error"}})
    await exchange.end()


async def bare_error(exchange: Exchange) -> None:
    """Fail as Ollama does, in a line that is no event."""
    await exchange.raw(b'{"error":"an error was encountered while running the model"}\n')
    await exchange.end()


async def half_a_character(exchange: Exchange) -> None:
    """End between two bytes of a character."""
    await exchange.raw('data: {"choices": [{"delta": {"content": "ü'.encode()[:-1])
    await exchange.end()


async def just_end(exchange: Exchange) -> None:
    """End without a finish."""
    await exchange.end()


async def no_json(exchange: Exchange) -> None:
    """Send an event that is no JSON."""
    await exchange.payload("{broken")


async def no_utf8(exchange: Exchange) -> None:
    """Send bytes that are no text."""
    await exchange.raw(b'data: {"choices": [{"delta": {"content": "\xff\xfe"}}]}\n\n')


async def enormous_chunk(exchange: Exchange) -> None:
    """Send a chunk of 10 MB, as the protocol has it but for its size."""
    await exchange.words("x" * ENORMOUS)


async def endless_line(exchange: Exchange) -> None:
    """Send a line that does not end."""
    await exchange.raw(b"data: ")
    while True:
        await exchange.raw(b"x" * 65_536)


async def empty_reply(exchange: Exchange) -> None:
    """Finish without a word."""
    await exchange.words(None, "stop")
    await exchange.payload("[DONE]")
    await exchange.end()


async def only_thoughts(exchange: Exchange) -> None:
    """Think, and finish without a word."""
    await exchange.words("<think>What might she want to hear?</think>\n\n", "stop")
    await exchange.end()


async def comments(exchange: Exchange) -> None:
    """Keep the connection alive and say nothing."""
    while True:
        await exchange.raw(b": still here\n\n")
        await asyncio.sleep(0.005)


async def trickle(exchange: Exchange) -> None:
    """Say a letter now and then, for ever."""
    while True:
        await exchange.words("o")
        await asyncio.sleep(0.005)


async def trickling_bytes(exchange: Exchange) -> None:
    """Send a chunk byte by byte, so slowly that it never ends."""
    await exchange.raw(b'data: {"choices": [{"delta": {"content": "')
    while True:
        await exchange.raw(b"o")
        await asyncio.sleep(0.005)


async def html(exchange: Exchange) -> None:
    """Answer with a web page."""
    await exchange.head(200, "text/html; charset=utf-8")
    await exchange.raw(b"<html><body>Welcome</body></html>")
    await exchange.end()


async def html_of_a_proxy(exchange: Exchange) -> None:
    """Answer as a proxy in front of a server that is down."""
    await exchange.head(502, "text/html")
    await exchange.raw(b"<html><body>502 Bad Gateway</body></html>")
    await exchange.end()


async def whole_reply(exchange: Exchange) -> None:
    """Answer in one piece, although a stream was asked for."""
    message = {"role": "assistant", "content": "Hello!"}
    await exchange.head(200, "application/json")
    await exchange.raw(json.dumps({"choices": [{"message": message, "finish_reason": "stop"}]}).encode())
    await exchange.end()


async def error_with_200(exchange: Exchange) -> None:
    """Refuse with the status of a success."""
    await exchange.refuse(200, {"message": "slow down", "type": "rate_limit_error"})


async def enormous_refusal(exchange: Exchange) -> None:
    """Refuse with a body of 10 MB."""
    await exchange.refuse(500, "x" * ENORMOUS)
