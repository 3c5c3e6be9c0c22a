"""`/telemetry/stream`: the telemetry at an interval, as server-sent events."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncGenerator, Awaitable, Callable

from fastapi import APIRouter, Request, Response

from gateway.access.access import Access
from gateway.http.conversations_errors import ConversationRoute
from gateway.http.conversations_guard import Guard
from gateway.http.conversations_json import fields_of, message_of, query_of
from gateway.http.stream import EventStream, Watchers, continued, event_text, until_drained
from gateway.requests import telemetry_interval_s
from limbic.gateway.v1 import gateway_pb2
from limbic.runtime.drain import Drain


class _Rendered:
    """The telemetry as an event, written down once for all who watch at about the same time, and not in the event loop."""

    _FRESH_S = 0.1

    def __init__(self, snapshot: Callable[[], gateway_pb2.TelemetrySnapshot]) -> None:
        self._snapshot = snapshot
        self._rendering: asyncio.Task[str] | None = None
        self._at = 0.0

    async def event(self) -> str:
        now = asyncio.get_running_loop().time()
        if self._rendering is None or now - self._at >= self._FRESH_S:
            self._at = now
            self._rendering = asyncio.create_task(asyncio.to_thread(_event, self._snapshot()))
        # Shared: one watcher that goes away must not take it from the others.
        return await asyncio.shield(self._rendering)


def telemetry_stream(
    snapshot: Callable[[], gateway_pb2.TelemetrySnapshot],
    guard: Guard,
    watchers: Watchers,
    drain: Drain,
    access: Access,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> APIRouter:
    """Build the face.

    Args:
        snapshot: the telemetry as it is now.
        guard: who may come in.
        watchers: the streams without an end.
        drain: ends them.
        access: says who watches, since not everybody sees the same.
        sleep: waits between two events.
    """
    face = APIRouter(route_class=ConversationRoute)
    rendered: defaultdict[str, _Rendered] = defaultdict(lambda: _Rendered(snapshot))

    @face.get("/telemetry/stream")
    async def stream(request: Request) -> Response:
        """WatchTelemetry: a TelemetrySnapshot an event, at once and then at `interval`."""
        guard.check(request)
        wanted = message_of(gateway_pb2.WatchTelemetryRequest, query_of(request))
        events = _events(telemetry_interval_s(wanted))
        first = await anext(events)
        return EventStream(until_drained(continued(first, events), drain))

    async def _events(interval_s: float) -> AsyncGenerator[str, None]:
        with watchers.place():
            while True:
                yield await rendered[access.visitor().name_space].event()
                await sleep(interval_s)

    return face


def _event(snapshot: gateway_pb2.TelemetrySnapshot) -> str:
    return event_text("snapshot", fields_of(snapshot))
