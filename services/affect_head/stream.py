"""Works on the items of a stream side by side, a bounded number at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from typing import Any, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


async def as_ready(
    items: AsyncIterator[Item], work: Callable[[Item], Awaitable[Result]], *, limit: int
) -> AsyncGenerator[Result, None]:
    """Yield `work(item)` for every item, in the order in which they are ready.

    No item is taken from the stream while `limit` are being worked on, so a sender that is faster than we are is held back by
    the transport. Whatever ends this generator ends the work as well.
    """
    working: set[asyncio.Future[Result]] = set()
    coming: asyncio.Future[Item] | None = asyncio.ensure_future(_next(items))
    try:
        while coming is not None or working:
            waiting: set[asyncio.Future[Any]] = (
                {*working} if coming is None or len(working) >= limit else {*working, coming}
            )
            done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            if coming is not None and coming in done:
                try:
                    working.add(asyncio.ensure_future(work(coming.result())))
                    coming = asyncio.ensure_future(_next(items))
                except StopAsyncIteration:
                    coming = None
            for finished in done & working:
                working.discard(finished)
                yield finished.result()
    finally:
        left: list[asyncio.Future[Any]] = [*working, *([coming] if coming is not None else [])]
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)


async def _next(items: AsyncIterator[Item]) -> Item:
    return await anext(items)
