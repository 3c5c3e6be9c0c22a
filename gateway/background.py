"""Work that goes on when nobody waits for it any more, and that must be finished before the process ends."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from limbic.runtime.errors import LimbicError
from limbic.runtime.logs import get_logger

_log = get_logger(__name__)
_T = TypeVar("_T")


class Background:
    """A set of tasks that is held on to: the event loop itself keeps only weak references."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()

    def __len__(self) -> int:
        return len(self._tasks)

    def spawn(self, work: Coroutine[Any, Any, _T], name: str) -> asyncio.Task[_T]:
        """Start work. What it raises is logged if it is a fault of ours, and can still be awaited."""
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    async def drain(self, timeout_s: float) -> int:
        """Wait for all work, then cancel what is left. Returns how many were cancelled."""
        loop = asyncio.get_running_loop()
        end = loop.time() + timeout_s
        # Work may start more work while it finishes.
        while self._tasks and (left := end - loop.time()) > 0:
            await asyncio.wait(self._tasks, timeout=left)
        unfinished = list(self._tasks)
        for task in unfinished:
            task.cancel()
        await asyncio.gather(*unfinished, return_exceptions=True)
        return len(unfinished)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if task.cancelled():
            return
        error = task.exception()
        if error is not None and not isinstance(error, LimbicError):
            _log.error("background work failed", task=task.get_name(), exc_info=error)
