"""The gateway's calls."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc

from limbic.client import messages
from limbic.client.aio.calls import TurnStream, answer, stream, turn_stream
from limbic.client.aio.connection import Client
from limbic.client.messages import Moment
from limbic.gateway.v1 import gateway_pb2, gateway_pb2_grpc


class GatewayClient(Client):
    """The calls of `limbic.gateway.v1.GatewayService`. One for each event loop. Each raises `CallError` where it fails.

    Args:
        target: HOST:PORT or unix:PATH.
        key: what the gateway asks for, if it does.
        credentials: for a gateway that speaks TLS: `grpc.ssl_channel_credentials()`.
        deadline_s: seconds that a call may take, other than a turn or a watch, unless it is told otherwise.
    """

    def __init__(
        self,
        target: str = messages.GATEWAY,
        *,
        key: str = "",
        credentials: grpc.ChannelCredentials | None = None,
        deadline_s: float = messages.CALL_DEADLINE_S,
    ) -> None:
        super().__init__(target, credentials, deadline_s)
        self._metadata = messages.bearer(key)
        self._stub = gateway_pb2_grpc.GatewayServiceStub(self._channel)

    @asynccontextmanager
    async def turn(
        self,
        text: str,
        *,
        session_id: str = "",
        turn_id: str = "",
        parent_turn_id: str | None = None,
        persona: str = "",
        options: gateway_pb2.TurnOptions | None = None,
        occurred_at: Moment | None = None,
        deadline_s: float | None = None,
    ) -> AsyncIterator[TurnStream]:
        """Run a turn for the length of a block: iterate over its responses, its `events()` or its `text()`. Leaving the block ends it.

        Without a session a new one begins; without a parent the turn follows the session's tip, with "" the root.
        """
        request = messages.turn_request(text, session_id, turn_id, parent_turn_id, persona, options, occurred_at)
        within = self._within(deadline_s, messages.TURN_DEADLINE_S)
        async with stream(self._stub.Turn, request, messages.itself, within, self._metadata) as responses:
            yield turn_stream(responses)

    async def get_telemetry_snapshot(self, *, deadline_s: float | None = None) -> gateway_pb2.TelemetrySnapshot:
        """Read what the gateway has seen lately."""
        request = gateway_pb2.GetTelemetrySnapshotRequest()
        found = await answer(self._stub.GetTelemetrySnapshot, request, self._within(deadline_s), self._metadata)
        return found.snapshot

    @asynccontextmanager
    async def watch_telemetry(
        self, *, interval_s: float | None = None, deadline_s: float = messages.WATCH_DEADLINE_S
    ) -> AsyncIterator[AsyncIterator[gateway_pb2.TelemetrySnapshot]]:
        """Watch the telemetry for the length of a block: a snapshot at each interval, 0.2 to 60 s; None for 1 s."""
        request = gateway_pb2.WatchTelemetryRequest(interval=messages.duration(interval_s))
        within = self._within(deadline_s)
        async with stream(
            self._stub.WatchTelemetry, request, messages.snapshot_of, within, self._metadata
        ) as snapshots:
            yield snapshots
