"""A real service whose handlers do what the request's text says, to try what the runtime makes of it. Runs as a process, too."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from typing import Any

import grpc

from limbic.affect.v1 import affect_pb2, affect_pb2_grpc
from limbic.runtime.deadline import current_deadline
from limbic.runtime.errors import InvalidArgumentError, ResourceExhaustedError
from limbic.runtime.server import run_service
from limbic.runtime.settings import RuntimeSettings, ServerSettings

FULL_NAME = affect_pb2.DESCRIPTOR.services_by_name["AffectHeadService"].full_name


class ScriptedService(affect_pb2_grpc.AffectHeadServiceServicer):
    """Answers with the remaining deadline as valence, or misbehaves as it is told.

    Attributes:
        held: set while a call that was told to hold is waiting.
        release: lets it go on.
        cancelled: set when a handler was cancelled.
        drained, stopped: set when the server called the hooks of these names.
    """

    full_name = FULL_NAME

    def __init__(self) -> None:
        self.held = asyncio.Event()
        self.release = asyncio.Event()
        self.cancelled = asyncio.Event()
        self.drained = asyncio.Event()
        self.stopped = asyncio.Event()

    def register(self, server: grpc.aio.Server) -> None:
        affect_pb2_grpc.add_AffectHeadServiceServicer_to_server(self, server)

    async def start(self) -> None:
        pass

    def drain(self) -> None:
        self.drained.set()

    async def stop(self) -> None:
        self.stopped.set()
        sys.stdout.write("closed what it held\n")

    async def Classify(self, request: affect_pb2.ClassifyRequest, context: Any) -> affect_pb2.ClassifyResponse:
        match request.text:
            case "raise":
                raise ValueError("a secret in an exception")
            case "cancel":
                raise asyncio.CancelledError
            case "invalid":
                raise InvalidArgumentError("text", "must be something else")
            case "full":
                raise ResourceExhaustedError("no room", retry_after=0.25, limit="3")
            case "hold":
                await self._hold()
        deadline = current_deadline()
        assert deadline is not None
        return affect_pb2.ClassifyResponse(reading=affect_pb2.AffectReading(valence=deadline.remaining()))

    async def ClassifyStream(
        self, request_iterator: AsyncIterator[affect_pb2.ClassifyStreamRequest], context: Any
    ) -> AsyncIterator[affect_pb2.ClassifyStreamResponse]:
        async for request in request_iterator:
            if request.text == "raise":
                raise ValueError("a secret in an exception")
            yield affect_pb2.ClassifyStreamResponse(request_id=request.request_id)

    async def _hold(self) -> None:
        self.held.set()
        sys.stdout.write("holding\n")
        sys.stdout.flush()
        try:
            await self.release.wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise


class ReleasedBySignal(ScriptedService):
    """Lets a held call go as soon as the server drains, so that a test sees it finish inside the grace."""

    def register(self, server: grpc.aio.Server) -> None:
        super().register(server)
        stop = server.stop

        async def release_and_stop(grace: float | None) -> None:
            asyncio.get_running_loop().call_soon(self.release.set)
            await stop(grace)

        server.stop = release_and_stop  # type: ignore[method-assign, assignment]


if __name__ == "__main__":
    run_service("scripted", ReleasedBySignal(), RuntimeSettings(lame_duck_s=0), ServerSettings(listen=sys.argv[1]))
