"""Puts one late item into a stream without making the stream wait for it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import TypeVar

_T = TypeVar("_T")
_U = TypeVar("_U")


class _End:
    """Marks the end of the stream: a task cannot be read safely for StopAsyncIteration inside a generator."""


_END = _End()


async def with_late_item(
    stream: AsyncGenerator[_T, None], late: asyncio.Task[_U | None]
) -> AsyncGenerator[_T | _U, None]:
    """Yield the stream's items, and the task's result, if it is not None, as soon as it is there.

    A result that has not come when the stream ends is left out. Closing this generator closes the stream at once, even while it
    waits for its next item, and leaves the task alone. What the stream or the task raises comes through.
    """
    upcoming: asyncio.Task[_T | _End] | None = None
    late_given = False
    try:
        while True:
            if upcoming is None:
                upcoming = asyncio.create_task(_next(stream))
            await asyncio.wait({upcoming} if late_given else {upcoming, late}, return_when=asyncio.FIRST_COMPLETED)
            if late.done() and not late_given:
                late_given = True
                result = late.result()
                if result is not None:
                    yield result
            if upcoming.done():
                item = upcoming.result()
                upcoming = None
                if isinstance(item, _End):
                    return
                yield item
    finally:
        if upcoming is not None:
            upcoming.cancel()
            await asyncio.gather(upcoming, return_exceptions=True)
        await stream.aclose()


async def _next(stream: AsyncGenerator[_T, None]) -> _T | _End:
    return await anext(stream, _END)
