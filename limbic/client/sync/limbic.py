"""A gateway and a state engine together. Made from limbic/client/aio by tools/sync_client.py: never edited."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self

import grpc

from limbic.client import messages
from limbic.client.messages import Moment
from limbic.client.sync.calls import SyncTurnStream
from limbic.client.sync.gateway import SyncGatewayClient
from limbic.client.sync.state_engine import SyncStateEngineClient
from limbic.gateway.v1 import gateway_pb2
from limbic.state.v1 import state_pb2


class SyncLimbicClient:
    """A gateway and a state engine together, with short forms of what a front end needs. For any number of threads.

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
        self.gateway = SyncGatewayClient(gateway, key=key, credentials=gateway_credentials)
        self.state_engine = SyncStateEngineClient(state_engine, credentials=engine_credentials)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections and cancel what still runs on them."""
        self.gateway.close()
        self.state_engine.close()

    @contextmanager
    def turn(
        self,
        text: str,
        *,
        session_id: str = "",
        turn_id: str = "",
        parent_turn_id: str | None = None,
        persona: str = "",
        options: gateway_pb2.TurnOptions | None = None,
        occurred_at: Moment | None = None,
    ) -> Iterator[SyncTurnStream]:
        """Run a turn: see `SyncGatewayClient.turn`."""
        with self.gateway.turn(
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

    def state(self, session_id: str, *, turn_id: str = "", as_of: Moment | None = None) -> state_pb2.State:
        """Read a session's state: see `SyncStateEngineClient.get_state`."""
        return self.state_engine.get_state(session_id, turn_id=turn_id, as_of=as_of)

    def turns(self, session_id: str, *, path_to_turn_id: str = "") -> list[state_pb2.Turn]:
        """List a session's turns: see `SyncStateEngineClient.list_turns`."""
        return self.state_engine.list_turns(session_id, path_to_turn_id=path_to_turn_id)
