"""Ends the streams that never end by themselves, as soon as the server is going down.

A stream that watches something would hold the end of the process up for the whole grace that is meant for calls which finish. A service
that serves such streams owns one Drain: its `drain` hook begins it, and each stream does its waiting through `unless_begun`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from limbic.runtime.errors import ServerDrainingError

_T = TypeVar("_T")

RETRY_AFTER_S = 1.0
"""A supervised process is back about a second after it has ended."""


class Drain:
    """Whether the server is going down, as something that can be waited for. For one event loop; it never ends once begun."""

    def __init__(self) -> None:
        self._begun = asyncio.Event()

    @property
    def begun(self) -> bool:
        """Whether the server is going down."""
        return self._begun.is_set()

    def begin(self) -> None:
        """End all waiting, now and from now on."""
        self._begun.set()

    async def unless_begun(self, work: Coroutine[Any, Any, _T]) -> _T:
        """Return what the work returns, and cancel it when the server goes down.

        Raises:
            ServerDrainingError: the server is going down. The client may come back.
        """
        working = asyncio.create_task(work)
        begun = asyncio.create_task(self._begun.wait())
        try:
            await asyncio.wait({working, begun}, return_when=asyncio.FIRST_COMPLETED)
            if not working.done():
                raise ServerDrainingError("the service is going down", retry_after=RETRY_AFTER_S)
            return working.result()
        finally:
            for task in (working, begun):
                task.cancel()
            await asyncio.gather(working, begun, return_exceptions=True)
