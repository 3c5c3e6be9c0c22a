"""The standard health service, whose watches end when the server does."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from grpc_health.v1 import health, health_pb2

from limbic.runtime.drain import Drain
from limbic.runtime.errors import ServerDrainingError


class HealthService(health.aio.HealthServicer):  # type: ignore[misc, name-defined]  # the stubs lack it
    """grpc_health's own Watch goes on after NOT_SERVING, and would hold the server's end up for the whole grace.

    Args:
        drain: ends the watches. To be begun after `enter_graceful_shutdown` and a moment in which NOT_SERVING can be sent.
    """

    def __init__(self, drain: Drain) -> None:
        super().__init__()
        self._drain = drain

    async def Watch(self, request: health_pb2.HealthCheckRequest, context: Any) -> None:
        """Send the status and each change of it. The end of the stream is no failure: the last status said that it would come."""
        with suppress(ServerDrainingError):
            await self._drain.unless_begun(super().Watch(request, context))
