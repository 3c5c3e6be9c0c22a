"""OpenAI's API: `POST /v1/chat/completions`, `GET /v1/models`."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from gateway.completions.errors import error_body, told
from gateway.completions.request import MAX_BODY_BYTES, MODEL, ChatRequest, TurnDefaults, chat_request
from gateway.completions.response import DONE, Completion, event_text
from gateway.errors import SessionNotFoundError, TurnNotFoundError
from gateway.events import DeltaText, TurnDone, TurnEvent, TurnInput
from gateway.http.conversations_errors import MediaTypeError
from gateway.http.conversations_guard import Guard
from gateway.http.conversations_json import body_of
from gateway.http.gone import ClientGoneError, unless_gone
from gateway.http.stream import EventStream
from limbic.llm.v1 import llm_pb2
from limbic.runtime.clock import NS_PER_S, Clock
from limbic.runtime.drain import Drain
from limbic.runtime.errors import InternalError, LimbicError, ServerDrainingError
from limbic.runtime.logs import get_logger

_log = get_logger(__name__)

_CLIENT_GONE = 499
"""Nobody sees it; it is what proxies write into their logs for this."""


@dataclass(frozen=True, slots=True)
class Completions:
    """What the face needs.

    Attributes:
        run: runs a turn.
        upstreams: the models behind the character.
        defaults: what a request does not say, for one that arrives now.
        guard: says by which names we are called.
        drain: whether the process is going down.
        clock: dates the completions.
    """

    run: Callable[[TurnInput], AsyncGenerator[TurnEvent, None]]
    upstreams: Callable[[], list[llm_pb2.Upstream]]
    defaults: Callable[[], TurnDefaults]
    guard: Guard
    drain: Drain
    clock: Clock


def completions(parts: Completions) -> APIRouter:
    """Build the face."""
    face = APIRouter(prefix="/v1")
    started_s = parts.clock.now_ns() // NS_PER_S

    @face.post("/chat/completions")
    async def chat(request: Request) -> Response:
        """Answer a conversation, whole or piece by piece."""
        try:
            parts.guard.check_host(request)
            check_json(request)
            body = await body_of(request, MAX_BODY_BYTES)
            if parts.drain.begun:
                raise ServerDrainingError("the gateway is going down", retry_after=1.0)
            wanted = chat_request(body, request.headers, parts.defaults())
            return await _answer(parts, request, wanted)
        except LimbicError as error:
            return error_response(error)
        except ClientGoneError:
            return Response(status_code=_CLIENT_GONE)

    @face.get("/models")
    async def models(request: Request) -> Response:
        """List the character, as the one model there is."""
        return _guarded(parts.guard, request, {"object": "list", "data": [_model(started_s, parts.upstreams())]})

    @face.get("/models/{name:path}")
    async def model(request: Request, name: str) -> Response:
        """Describe it."""
        if name != MODEL:
            body = error_body(404, f"there is one model here, {MODEL}", "model", "MODEL_NOT_FOUND")
            return JSONResponse(body, status_code=404)
        return _guarded(parts.guard, request, _model(started_s, parts.upstreams()))

    return face


def check_json(request: Request) -> None:
    """Refuse a body that is not declared as JSON: a browser asks before it sends one of these to another site.

    Raises:
        MediaTypeError: it is declared as something else.
    """
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise MediaTypeError("content-type", "must be application/json")


def error_response(error: LimbicError) -> JSONResponse:
    """Return an error in OpenAI's form."""
    said = told(error)
    return JSONResponse(said.body, status_code=said.status, headers=said.headers)


def _guarded(guard: Guard, request: Request, body: dict[str, Any]) -> Response:
    try:
        guard.check_host(request)
    except LimbicError as error:
        return error_response(error)
    return JSONResponse(body)


def _model(created_s: int, upstreams: list[llm_pb2.Upstream]) -> dict[str, Any]:
    behind = [
        {"name": one.name, "kind": one.kind, "model": one.model, "context_tokens": one.context_tokens}
        for one in upstreams
    ]
    return {
        "id": MODEL,
        "object": "model",
        "created": created_s,
        "owned_by": MODEL,
        "limbic": {"upstreams": behind},
    }


async def _answer(parts: Completions, request: Request, wanted: ChatRequest) -> Response:
    completion = Completion(
        f"chatcmpl-{wanted.turn.trace_id}",
        parts.clock.now_ns() // NS_PER_S,
        wanted.model,
        wanted.turn.session_id,
        includes_usage=wanted.includes_usage,
    )
    events, first = await unless_gone(request, _begun(parts, wanted.turn, completion))
    try:
        if wanted.streams:
            response: Response = EventStream(_stream(events, first, completion))
        else:
            response = JSONResponse(await unless_gone(request, _whole(events, first, completion)))
    except BaseException:
        await events.aclose()
        raise
    response.headers.update(completion.extension.headers(wanted.turn.trace_id))
    return response


async def _begun(
    parts: Completions, turn: TurnInput, completion: Completion
) -> tuple[AsyncGenerator[TurnEvent, None], TurnEvent]:
    """Run a turn up to its first words, so that what fails before them has an HTTP status of its own."""
    try:
        return await _first_words(parts.run(turn), completion)
    except (SessionNotFoundError, TurnNotFoundError):
        # It was deleted, and was remembered until now. Nothing has been written, so the conversation can be placed anew.
        return await _first_words(parts.run(turn), completion)


async def _first_words(
    events: AsyncGenerator[TurnEvent, None], completion: Completion
) -> tuple[AsyncGenerator[TurnEvent, None], TurnEvent]:
    try:
        async for event in events:
            if isinstance(event, DeltaText | TurnDone):
                return events, event
            completion.take(event)
    except BaseException:
        await events.aclose()
        raise
    raise RuntimeError("a turn ended without saying so")


async def _whole(events: AsyncGenerator[TurnEvent, None], event: TurnEvent, completion: Completion) -> dict[str, Any]:
    async with aclosing(events):
        while not isinstance(event, TurnDone):
            completion.take(event)
            event = await anext(events)
        return completion.whole(event)


async def _stream(
    events: AsyncGenerator[TurnEvent, None], event: TurnEvent, completion: Completion
) -> AsyncGenerator[str, None]:
    async with aclosing(events):
        try:
            while True:
                for chunk in completion.chunks(event):
                    yield event_text(chunk)
                if isinstance(event, TurnDone):
                    break
                event = await anext(events)
        except LimbicError as error:
            # What was said stays; the official clients raise this as an error.
            yield event_text(told(error).body)
            return
        except Exception as error:  # noqa: BLE001 - the answer has begun, so that nobody else can tell the client
            _log.error("internal error", path="/v1/chat/completions", exc_info=error)
            yield event_text(told(InternalError("internal error; the service's log says what happened")).body)
            return
        yield DONE
