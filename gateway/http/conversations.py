"""Conversations over HTTP, as the page at `/` uses them: the contracts' own messages as JSON, turns and watches as server-sent events.

Thin: each route makes a message of path, query and body, asks whom it concerns, and answers with the message that comes back. The fields
of a query or body are those of the request named beside the route, in `protos/`.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, cast

import grpc
from fastapi import APIRouter, Request, Response

from gateway.http.conversations_curve import moments_of
from gateway.http.conversations_errors import ConversationRoute, WordsNotKeptError, error_fields
from gateway.http.conversations_guard import Guard
from gateway.http.conversations_json import answer, body_of, fields_of, message_of, query_of
from gateway.http.stream import EventStream, Watchers, continued, event_text, until_drained
from gateway.reading import CONTEXT_TURNS, context_of
from limbic.affect.v1 import affect_pb2, affect_pb2_grpc
from limbic.gateway.v1 import gateway_pb2
from limbic.runtime.channels import streaming
from limbic.runtime.clock import Clock
from limbic.runtime.drain import Drain
from limbic.runtime.errors import InternalError, LimbicError, ServerDrainingError
from limbic.runtime.logs import get_logger
from limbic.state.v1 import state_pb2, state_pb2_grpc

_log = get_logger(__name__)

READ_S = 5.0
"""For one question to the state engine: nobody looks at a page that long without an answer."""
EXPLAIN_S = 30.0
"""A generative head writes its reason."""
WATCH_S = 3_600.0
"""A watch ends after this long, and whoever still looks begins it again."""
CURVE_TURNS = 500
"""Of a longer path a curve shows the latest."""

_SESSION = "/api/sessions/{session_id}"


@dataclass(frozen=True, slots=True)
class Conversations:
    """What the routes need.

    Attributes:
        begin: runs a turn; closing what it returns ends the turn.
        forget: called when a session has been deleted.
        state, affect: the state engine and the affect head, over the channels that the turns use.
        guard: who may come in.
        watchers: the streams without an end.
        clock: says what is now.
    """

    begin: Callable[
        [gateway_pb2.TurnRequest, Iterable[tuple[str, str]]], AsyncGenerator[gateway_pb2.TurnResponse, None]
    ]
    forget: Callable[[str], None]
    state: state_pb2_grpc.StateEngineServiceStub
    affect: affect_pb2_grpc.AffectHeadServiceStub
    guard: Guard
    watchers: Watchers
    drain: Drain
    clock: Clock


def conversations(parts: Conversations) -> APIRouter:
    """Build the face."""
    face = APIRouter(route_class=ConversationRoute)
    guard, state = parts.guard, parts.state

    @face.put(_SESSION)
    async def create(session_id: str, request: Request) -> Response:
        """CreateSession: open a session before anything is said."""
        guard.check_change(request)
        wanted = message_of(state_pb2.CreateSessionRequest, await body_of(request), session_id=session_id)
        return answer(await _ask(state.CreateSession, wanted))

    @face.get(_SESSION)
    async def read(session_id: str, request: Request) -> Response:
        """GetState: the state at the tip, whose id is the state's `turn_id`, or at a turn and a moment."""
        guard.check(request)
        wanted = message_of(state_pb2.GetStateRequest, query_of(request), session_id=session_id)
        return answer(await _ask(state.GetState, wanted))

    @face.delete(_SESSION)
    async def delete(session_id: str, request: Request) -> Response:
        """DeleteSession: for good, here and in the journal."""
        guard.check(request)
        answered = answer(await _ask(state.DeleteSession, state_pb2.DeleteSessionRequest(session_id=session_id)))
        parts.forget(session_id)
        return answered

    @face.get(f"{_SESSION}/turns")
    async def turns(session_id: str, request: Request) -> Response:
        """ListTurns: the tree, oldest first; earlier pages by `page_token`."""
        guard.check(request)
        wanted = message_of(state_pb2.ListTurnsRequest, query_of(request), session_id=session_id)
        found = await _ask(state.ListTurns, wanted)
        # A thousand turns with their readings take a noticeable time to write down, and other people's turns must not wait for it.
        return await asyncio.to_thread(answer, found)

    @face.post(f"{_SESSION}/turns")
    async def turn(session_id: str, request: Request) -> Response:
        """Turn: one TurnResponse an event, named after what it holds. What is refused at once has a status of its own."""
        guard.check_change(request)
        wanted = message_of(gateway_pb2.TurnRequest, await body_of(request), session_id=session_id)
        if parts.drain.begun:
            raise ServerDrainingError("the gateway is going down", retry_after=1.0)
        events = parts.begin(wanted, request.headers.items())
        return EventStream(_turn_events(await anext(events), events))

    @face.post(f"{_SESSION}/rewind")
    async def rewind(session_id: str, request: Request) -> Response:
        """Rewind: move the tip."""
        guard.check_change(request)
        wanted = message_of(state_pb2.RewindRequest, await body_of(request), session_id=session_id)
        return answer(await _ask(state.Rewind, wanted))

    @face.get(f"{_SESSION}/explain")
    async def explain(session_id: str, request: Request) -> Response:
        """Explain: what each utterance still contributes."""
        guard.check(request)
        wanted = message_of(state_pb2.ExplainRequest, query_of(request), session_id=session_id)
        return answer(await _ask(state.Explain, wanted))

    @face.get(f"{_SESSION}/curve")
    async def curve(session_id: str, request: Request) -> Response:
        """Curve: the levels and moods along the path to `turn_id`, or to the tip."""
        guard.check(request)
        wanted = message_of(state_pb2.GetStateRequest, query_of(request), session_id=session_id)
        return await asyncio.to_thread(answer, await _curve(parts, session_id, wanted.turn_id))

    @face.get(f"{_SESSION}/reading")
    async def reading(session_id: str, request: Request) -> Response:
        """Explain of the affect head: which words of a turn moved which axis."""
        guard.check(request)
        wanted = message_of(state_pb2.GetStateRequest, query_of(request), session_id=session_id)
        said = await _path(state, session_id, wanted.turn_id, 1 + CONTEXT_TURNS)
        if not said or not said[-1].text:
            raise WordsNotKeptError("these words are not kept, so nobody can say what moved the reading")
        question = affect_pb2.ExplainRequest(
            text=said[-1].text, context=context_of(earlier.text for earlier in said[:-1])
        )
        return answer(await _ask(parts.affect.Explain, question, EXPLAIN_S))

    @face.get(f"{_SESSION}/watch")
    async def watch(session_id: str, request: Request) -> Response:
        """WatchState: a WatchStateResponse whenever something is recorded, and at an interval."""
        guard.check(request)
        wanted = message_of(state_pb2.WatchStateRequest, query_of(request), session_id=session_id)
        events = _watched(parts, wanted)
        first = await anext(events)
        return EventStream(until_drained(continued(first, events), parts.drain))

    return face


async def _ask(method: Any, request: Any, timeout_s: float = READ_S) -> Any:
    # The generated stubs' types are those of the synchronous library.
    return await cast(Awaitable[Any], method(request, timeout=timeout_s))


async def _path(
    state: state_pb2_grpc.StateEngineServiceStub, session_id: str, turn_id: str, count: int
) -> list[state_pb2.Turn]:
    wanted = state_pb2.ListTurnsRequest(session_id=session_id, path_to_turn_id=turn_id or "tip", page_size=count)
    found: state_pb2.ListTurnsResponse = await _ask(state.ListTurns, wanted)
    return list(found.turns)


async def _curve(parts: Conversations, session_id: str, turn_id: str) -> gateway_pb2.Curve:
    path = await _path(parts.state, session_id, turn_id, CURVE_TURNS)
    curve = gateway_pb2.Curve()
    moments = moments_of([turn.occurred_at.ToNanoseconds() for turn in path], parts.clock.now_ns())
    if not moments:
        return curve
    wanted = state_pb2.ReplayRequest(session_id=session_id, turn_id=path[-1].turn_id)
    for moment in moments:
        wanted.moments.add().FromNanoseconds(moment)
    call = cast(Any, parts.state.Replay(wanted, timeout=READ_S))
    async with streaming(call) as points:
        async for point in points:
            recorded = point.recorded
            if not curve.levels:
                curve.levels.extend(level.name for level in recorded.levels)
                curve.baselines.extend(level.baseline for level in recorded.levels)
                curve.moods.extend(mood.name for mood in recorded.moods)
            curve.points.add(
                at=recorded.as_of,
                cause_turn_id=point.cause_turn_id,
                levels=[level.value for level in recorded.levels],
                moods=[mood.intensity for mood in recorded.moods],
            )
    return curve


async def _turn_events(
    first: gateway_pb2.TurnResponse, events: AsyncGenerator[gateway_pb2.TurnResponse, None]
) -> AsyncGenerator[str, None]:
    async with aclosing(events):
        yield _turn_event(first)
        try:
            async for event in events:
                yield _turn_event(event)
        except LimbicError as error:
            yield event_text("error", error_fields(error)[1])
        except Exception as fault:  # noqa: BLE001
            # The last line of defence: the status is sent already, and the fault's text stays here.
            error_id = secrets.token_hex(6)
            _log.error("internal error", path="turns", error_id=error_id, exc_info=fault)
            told = InternalError(f"internal error {error_id}; the service's log says what happened")
            yield event_text("error", error_fields(told)[1])


def _turn_event(event: gateway_pb2.TurnResponse) -> str:
    return event_text(event.WhichOneof("event") or "", fields_of(event))


async def _watched(parts: Conversations, wanted: state_pb2.WatchStateRequest) -> AsyncGenerator[str, None]:
    call = cast(Any, parts.state.WatchState(wanted, timeout=WATCH_S))
    with parts.watchers.place():
        async with streaming(call) as states:
            started = False
            try:
                async for seen in states:
                    yield event_text("state", fields_of(seen))
                    started = True
            except grpc.RpcError as error:
                if not started:
                    raise
                yield event_text("error", error_fields(error)[1])
