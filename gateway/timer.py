"""The machine's clocks, and waiting on them."""

from __future__ import annotations

import asyncio
from typing import Any

from limbic.runtime.clock import SystemClock


class SystemTimer(SystemClock):
    """The timer of a running gateway. The event loop's time is the monotonic clock's."""

    async def wait(self, future: asyncio.Future[Any], until: float) -> bool:
        """Wait until the future is done, but no longer than until this moment. Returns whether it is done."""
        await asyncio.wait({future}, timeout=max(0.0, until - self.monotonic()))
        return future.done()
