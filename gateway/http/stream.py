"""Server-sent events: how a stream is written, how it stays alive, how it ends, and how many may be open."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, contextmanager
from typing import Any

from fastapi import Response
from starlette.types import Receive, Scope, Send

from gateway.metrics import STREAMS_OPEN
from limbic.runtime.drain import Drain
from limbic.runtime.errors import ResourceExhaustedError, ServerDrainingError

KEEP_ALIVE_S = 15.0
"""Proxies give up connections that have been silent for 30 to 60 s."""
_KEEP_ALIVE = ": keep-alive\n\n"
_RETRY_AFTER_S = 5.0

_HEADERS = {
    "cache-control": "no-store",
    "x-content-type-options": "nosniff",
    # nginx would collect the events instead of passing them on.
    "x-accel-buffering": "no",
}


class TooManyWatchersError(ResourceExhaustedError):
    """As many streams without an end are open as may be."""

    reason = "TOO_MANY_WATCHERS"


class Watchers:
    """Counts the streams that never end by themselves, so that forgotten tabs do not use up the gateway.

    Args:
        limit: how many may be open at once.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._open = 0

    @property
    def open(self) -> int:
        """How many are open."""
        return self._open

    @contextmanager
    def place(self) -> Iterator[None]:
        """Hold a place for the length of a block.

        Raises:
            TooManyWatchersError: there is none.
        """
        if self._open >= self._limit:
            raise TooManyWatchersError(
                f"{self._limit} streams are open, which is as many as may be", retry_after=_RETRY_AFTER_S
            )
        self._count(1)
        try:
            yield
        finally:
            self._count(-1)

    def _count(self, by: int) -> None:
        self._open += by
        STREAMS_OPEN.set(self._open)


def event_text(name: str, data: dict[str, Any]) -> str:
    """Return one event. JSON has no line breaks of its own, so the data is one line."""
    return f"event: {name}\ndata: {json.dumps(data, ensure_ascii=False, separators=(',', ':'))}\n\n"


async def continued(first: str, events: AsyncGenerator[str, None]) -> AsyncGenerator[str, None]:
    """Put an event back that was taken off, to see whether there is one, before the answer had begun."""
    async with aclosing(events):
        yield first
        async for event in events:
            yield event


async def until_drained(events: AsyncGenerator[str, None], drain: Drain) -> AsyncGenerator[str, None]:
    """Yield events that never end, and end with them when the server goes down."""
    async with aclosing(events):
        while True:
            try:
                event = await drain.unless_begun(_next(events))
            except ServerDrainingError:
                return
            if event is None:
                return
            yield event


async def kept_alive(events: AsyncGenerator[str, None], silence_s: float = KEEP_ALIVE_S) -> AsyncGenerator[str, None]:
    """Yield events, and a comment whenever there has been none for so long."""
    upcoming: asyncio.Task[str | None] | None = None
    try:
        while True:
            if upcoming is None:
                upcoming = asyncio.create_task(_next(events))
            await asyncio.wait({upcoming}, timeout=silence_s)
            if not upcoming.done():
                yield _KEEP_ALIVE
                continue
            event = upcoming.result()
            upcoming = None
            if event is None:
                return
            yield event
    finally:
        if upcoming is not None:
            upcoming.cancel()
            await asyncio.gather(upcoming, return_exceptions=True)
        await events.aclose()


async def _next(events: AsyncGenerator[str, None]) -> str | None:
    # A task cannot be read safely for StopAsyncIteration inside a generator.
    return await anext(events, None)


class EventStream(Response):
    """A stream of events. It is closed at once, and with it what it comes from, when the client goes away.

    Starlette's own streaming response cancels the sender and leaves the source to the garbage collector; a model must stop sooner.

    Args:
        events: each as `event_text` makes it.
    """

    media_type = "text/event-stream"

    def __init__(self, events: AsyncGenerator[str, None]) -> None:
        super().__init__(headers=_HEADERS)
        del self.headers["content-length"]
        self._events = kept_alive(events)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send until the events end or the client goes away."""
        sending = asyncio.create_task(self._send(send))
        leaving = asyncio.create_task(_disconnected(receive))
        try:
            await asyncio.wait({sending, leaving}, return_when=asyncio.FIRST_COMPLETED)
            if sending.done():
                sending.result()
        finally:
            for task in (sending, leaving):
                task.cancel()
            await asyncio.gather(sending, leaving, return_exceptions=True)

    async def _send(self, send: Send) -> None:
        async with aclosing(self._events) as events:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            async for event in events:
                await send({"type": "http.response.body", "body": event.encode(), "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
