"""A gateway and a state engine together."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Self

import grpc

from limbic.client import messages
from limbic.client.aio.calls import TurnStream
from limbic.client.aio.gateway import GatewayClient
from limbic.client.aio.state_engine import StateEngineClient
from limbic.client.messages import Moment
from limbic.gateway.v1 import gateway_pb2
from limbic.state.v1 import state_pb2


class LimbicClient:
    """A gateway and a state engine together, with short forms of what a front end needs. One for each event loop.

    Args:
        gateway: HOST:PORT or unix:PATH of the gateway.
        state_engine: the same of the state engine.
        turn_deadline_s: seconds that a turn may take.
        key: what the gateway asks for, if it does.
        gateway_credentials: for a gateway that speaks TLS: `grpc.ssl_channel_credentials()`.
        engine_credentials: for a state engine that asks for a certificate (limbic.runtime.tls).

    Attributes:
        gateway: all calls of the gateway.
        state_engine: all calls of the state engine.
    """

    def __init__(
        self,
        gateway: str = messages.GATEWAY,
        state_engine: str = messages.STATE_ENGINE,
        *,
        turn_deadline_s: float = messages.TURN_DEADLINE_S,
        key: str = "",
        gateway_credentials: grpc.ChannelCredentials | None = None,
        engine_credentials: grpc.ChannelCredentials | None = None,
    ) -> None:
        self._turn_deadline_s = turn_deadline_s
        self.gateway = GatewayClient(gateway, key=key, credentials=gateway_credentials)
        self.state_engine = StateEngineClient(state_engine, credentials=engine_credentials)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections and cancel what still runs on them."""
        await self.gateway.close()
        await self.state_engine.close()

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
    ) -> AsyncIterator[TurnStream]:
        """Run a turn: see `GatewayClient.turn`."""
        async with self.gateway.turn(
            text,
            session_id=session_id,
            turn_id=turn_id,
            parent_turn_id=parent_turn_id,
            persona=persona,
            options=options,
            occurred_at=occurred_at,
            deadline_s=self._turn_deadline_s,
        ) as turn:
            yield turn

    async def state(self, session_id: str, *, turn_id: str = "", as_of: Moment | None = None) -> state_pb2.State:
        """Read a session's state: see `StateEngineClient.get_state`."""
        return await self.state_engine.get_state(session_id, turn_id=turn_id, as_of=as_of)

    async def turns(self, session_id: str, *, path_to_turn_id: str = "") -> list[state_pb2.Turn]:
        """List a session's turns: see `StateEngineClient.list_turns`."""
        return await self.state_engine.list_turns(session_id, path_to_turn_id=path_to_turn_id)
