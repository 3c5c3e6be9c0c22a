"""Stands between a gateway and its head, and lets readings through as fast as it is told: the latency suite's fast, slow and dead head."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2_grpc

from limbic.affect.v1 import affect_pb2, affect_pb2_grpc
from limbic.probes.errors import NotProbedError
from limbic.runtime.channels import ServerOptions, open_channel


class Forwarder(affect_pb2_grpc.AffectHeadServiceServicer):
    """Forwards `Classify` and `GetModelCard` to a head.

    Args:
        target: the head's.
        listen: where it is served itself: unix:PATH or HOST:PORT.
        delay_s: how long each reading is held back.
        credentials: for a head that asks for a certificate.
    """

    def __init__(
        self, target: str, listen: str, delay_s: float = 0.0, credentials: grpc.ChannelCredentials | None = None
    ) -> None:
        self._target = target
        self._credentials = credentials
        self._listen = listen
        self._delay_s = delay_s
        self._channel: grpc.aio.Channel | None = None
        self._server: grpc.aio.Server | None = None

    async def start(self) -> None:
        """Begin to serve.

        Raises:
            NotProbedError: the address cannot be used.
        """
        self._channel = open_channel(self._target, credentials=self._credentials)
        self._head: Any = affect_pb2_grpc.AffectHeadServiceStub(self._channel)
        self._server = grpc.aio.server(options=ServerOptions().arguments())
        affect_pb2_grpc.add_AffectHeadServiceServicer_to_server(self, self._server)
        health_pb2_grpc.add_HealthServicer_to_server(health.aio.HealthServicer(), self._server)  # type: ignore[attr-defined]  # the stubs lack it
        try:
            self._server.add_insecure_port(self._listen)
            await self._server.start()
        except RuntimeError as error:
            raise NotProbedError(f"{self._listen} cannot be served: {error}") from None

    async def stop(self) -> None:
        """Stop serving at once."""
        if self._server is not None:
            await self._server.stop(None)
        if self._channel is not None:
            await self._channel.close(None)

    async def Classify(self, request: affect_pb2.ClassifyRequest, context: Any) -> affect_pb2.ClassifyResponse:
        """Hold the reading back, and pass on what the head says."""
        if self._delay_s:
            await asyncio.sleep(self._delay_s)
        answer = await self._forwarded(self._head.Classify, request, context)
        assert isinstance(answer, affect_pb2.ClassifyResponse)
        return answer

    async def GetModelCard(
        self, request: affect_pb2.GetModelCardRequest, context: Any
    ) -> affect_pb2.GetModelCardResponse:
        """Pass on what the head says of itself."""
        answer = await self._forwarded(self._head.GetModelCard, request, context)
        assert isinstance(answer, affect_pb2.GetModelCardResponse)
        return answer

    async def _forwarded(self, method: Any, request: Any, context: Any) -> Any:
        try:
            return await method(request, timeout=context.time_remaining())
        except grpc.aio.AioRpcError as error:
            await context.abort(error.code(), error.details() or "", error.trailing_metadata() or ())
