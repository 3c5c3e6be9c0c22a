"""Takes events from a generator as fast as they come and hands them on as fast as they are wanted.

A task of its own drives the generator, for two reasons. When a caller goes away, gRPC cancels the handler wherever it stands, which may
be in the middle of a write: a generator that only the handler drives would then be left as it is until it is collected. And text that
comes faster than it can be written becomes one message instead of many.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Generic, TypeVar

T = TypeVar("T")


class Pump(Generic[T]):
    """Drives a generator in a task.

    Args:
        source: what is driven, and closed in any case.
    """

    def __init__(self, source: AsyncGenerator[T]) -> None:
        self._waiting: list[T] = []
        self._news = asyncio.Event()
        self._task = asyncio.create_task(self._drive(source))
        self._task.add_done_callback(lambda _: self._news.set())

    def cancel(self) -> None:
        """Close the generator, which cancels what it was doing."""
        self._task.cancel()

    async def batches(self) -> AsyncIterator[list[T]]:
        """Yield what has come since the last time, never nothing; at the end, raise what the generator raised.

        Raises:
            asyncio.CancelledError: the pump was cancelled.
        """
        while True:
            await self._news.wait()
            self._news.clear()
            ended = self._task.done()
            batch, self._waiting = self._waiting, []
            if batch:
                yield batch
            if ended:
                self._task.result()
                return

    async def close(self) -> None:
        """Cancel, and wait until the generator is closed."""
        self._task.cancel()
        await asyncio.wait([self._task])

    async def _drive(self, source: AsyncGenerator[T]) -> None:
        async with aclosing(source):
            async for event in source:
                self._waiting.append(event)
                self._news.set()
