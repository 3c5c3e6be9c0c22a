"""A thin typed client: `GatewayService.Turn` and what the state engine lets one read, for asyncio and without it.

    async with LimbicClient() as limbic:
        async with limbic.turn("I made it!", session_id="ada-and-me") as turn:
            async for response in turn:
                if response.WhichOneof("event") == "delta":
                    print(response.delta.text, end="")
        state = await limbic.state("ada-and-me")

Messages are the contracts' own (`protos/`); nothing is renamed or copied. Every call has a deadline, and leaving a turn's block ends the
turn: the model stops computing. The same calls without `async` and `await` are `SyncLimbicClient`'s.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from types import TracebackType
from typing import NoReturn, Self

import grpc
from google.protobuf.timestamp_pb2 import Timestamp

from limbic.gateway.v1 import gateway_pb2, gateway_pb2_grpc
from limbic.runtime.channels import open_channel, open_sync_channel
from limbic.runtime.errors import RpcFailure, failure_of
from limbic.state.v1 import state_pb2, state_pb2_grpc

GATEWAY = "127.0.0.1:50051"
STATE_ENGINE = "127.0.0.1:50052"

TURN_DEADLINE_S = 120.0
READ_DEADLINE_S = 5.0

PAGE = 1_000
"""Turns that one call lists at most."""


class CallError(Exception):
    """A call failed.

    Attributes:
        failure: the canonical code, our stable reason, the sentence and, where a retry can help, the delay.
    """

    def __init__(self, failure: RpcFailure) -> None:
        super().__init__(f"{failure.code.name}: {failure.message}")
        self.failure = failure


def turn_request(
    text: str,
    session_id: str = "",
    turn_id: str = "",
    parent_turn_id: str | None = None,
    persona: str = "",
    options: gateway_pb2.TurnOptions | None = None,
) -> gateway_pb2.TurnRequest:
    """Build a turn's request; arguments as in `TurnRequest`, `parent_turn_id=None` standing for the session's tip."""
    request = gateway_pb2.TurnRequest(
        session_id=session_id, turn_id=turn_id, text=text, persona=persona, options=options
    )
    if parent_turn_id is not None:
        request.parent_turn_id = parent_turn_id
    return request


def bearer(key: str) -> tuple[tuple[str, str], ...]:
    """Return the metadata that brings a key; empty without one."""
    return (("authorization", f"Bearer {key}"),) if key else ()


class LimbicClient:
    """Talks to a gateway and a state engine from asyncio. Connects when it is first used; one for each event loop.

    Args:
        gateway: HOST:PORT or unix:PATH of the gateway.
        state_engine: the same of the state engine; only the reads need it.
        turn_deadline_s: seconds that a turn may take.
        key: what the gateway asks for, if it does.
        gateway_credentials: for a gateway that speaks TLS: `grpc.ssl_channel_credentials()`.
        engine_credentials: for a state engine that asks for a certificate (limbic.runtime.tls).
    """

    def __init__(
        self,
        gateway: str = GATEWAY,
        state_engine: str = STATE_ENGINE,
        *,
        turn_deadline_s: float = TURN_DEADLINE_S,
        key: str = "",
        gateway_credentials: grpc.ChannelCredentials | None = None,
        engine_credentials: grpc.ChannelCredentials | None = None,
    ) -> None:
        self._turn_deadline_s = turn_deadline_s
        self._metadata = bearer(key)
        self._channels = (
            open_channel(gateway, credentials=gateway_credentials),
            open_channel(state_engine, credentials=engine_credentials),
        )
        self._gateway = gateway_pb2_grpc.GatewayServiceStub(self._channels[0])
        self._state = state_pb2_grpc.StateEngineServiceStub(self._channels[1])

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections and cancel what still runs on them."""
        for channel in self._channels:
            await channel.close(None)

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
    ) -> AsyncIterator[AsyncIterator[gateway_pb2.TurnResponse]]:
        """Run a turn: the block's iterator yields its responses as they come, and leaving the block ends it.

        Raises:
            CallError: the gateway cannot be reached, refused the turn, or the reply broke off.
        """
        request = turn_request(text, session_id, turn_id, parent_turn_id, persona, options)
        call = self._gateway.Turn(request, timeout=self._turn_deadline_s, metadata=self._metadata)

        async def responses() -> AsyncIterator[gateway_pb2.TurnResponse]:
            try:
                async for response in call:
                    yield response
            except grpc.RpcError as error:
                _raise(error)

        try:
            yield responses()
        finally:
            # To stop reading does not end a call; only this does.
            call.cancel()

    async def state(self, session_id: str, *, turn_id: str = "", as_of: Timestamp | None = None) -> state_pb2.State:
        """Read a session's state, by default at its tip and now.

        Raises:
            CallError: no such session or turn, or no answer.
        """
        request = state_pb2.GetStateRequest(session_id=session_id, turn_id=turn_id, as_of=as_of)
        try:
            answer = await self._state.GetState(request, timeout=READ_DEADLINE_S)
        except grpc.RpcError as error:
            _raise(error)
        return answer.state

    async def turns(self, session_id: str, *, path_to_turn_id: str = "") -> list[state_pb2.Turn]:
        """List a session's turns, oldest first, or with `path_to_turn_id` those from the root to that turn (`tip`: to the tip).

        Raises:
            CallError: no such session or turn, or no answer.
        """
        pages: list[Iterable[state_pb2.Turn]] = []
        request = _first_page(session_id, path_to_turn_id)
        try:
            while True:
                answer = await self._state.ListTurns(request, timeout=READ_DEADLINE_S)
                pages.insert(0, answer.turns)
                if not answer.next_page_token:
                    return [turn for page in pages for turn in page]
                request.page_token = answer.next_page_token
        except grpc.RpcError as error:
            _raise(error)


class SyncLimbicClient:
    """The same for programs without an event loop. Arguments and errors as in `LimbicClient`."""

    def __init__(
        self,
        gateway: str = GATEWAY,
        state_engine: str = STATE_ENGINE,
        *,
        turn_deadline_s: float = TURN_DEADLINE_S,
        key: str = "",
        gateway_credentials: grpc.ChannelCredentials | None = None,
        engine_credentials: grpc.ChannelCredentials | None = None,
    ) -> None:
        self._turn_deadline_s = turn_deadline_s
        self._metadata = bearer(key)
        self._channels = (
            open_sync_channel(gateway, gateway_credentials),
            open_sync_channel(state_engine, engine_credentials),
        )
        self._gateway = gateway_pb2_grpc.GatewayServiceStub(self._channels[0])
        self._state = state_pb2_grpc.StateEngineServiceStub(self._channels[1])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections and cancel what still runs on them."""
        for channel in self._channels:
            channel.close()

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
    ) -> Iterator[Iterator[gateway_pb2.TurnResponse]]:
        """Run a turn, as `LimbicClient.turn` does."""
        request = turn_request(text, session_id, turn_id, parent_turn_id, persona, options)
        call = self._gateway.Turn(request, timeout=self._turn_deadline_s, metadata=self._metadata)

        def responses() -> Iterator[gateway_pb2.TurnResponse]:
            try:
                yield from call
            except grpc.RpcError as error:
                _raise(error)

        try:
            yield responses()
        finally:
            call.cancel()  # type: ignore[no-untyped-call]

    def state(self, session_id: str, *, turn_id: str = "", as_of: Timestamp | None = None) -> state_pb2.State:
        """Read a session's state, as `LimbicClient.state` does."""
        request = state_pb2.GetStateRequest(session_id=session_id, turn_id=turn_id, as_of=as_of)
        try:
            answer: state_pb2.GetStateResponse = self._state.GetState(request, timeout=READ_DEADLINE_S)
        except grpc.RpcError as error:
            _raise(error)
        return answer.state

    def turns(self, session_id: str, *, path_to_turn_id: str = "") -> list[state_pb2.Turn]:
        """List a session's turns, as `LimbicClient.turns` does."""
        pages: list[Iterable[state_pb2.Turn]] = []
        request = _first_page(session_id, path_to_turn_id)
        try:
            while True:
                answer: state_pb2.ListTurnsResponse = self._state.ListTurns(request, timeout=READ_DEADLINE_S)
                pages.insert(0, answer.turns)
                if not answer.next_page_token:
                    return [turn for page in pages for turn in page]
                request.page_token = answer.next_page_token
        except grpc.RpcError as error:
            _raise(error)


def _first_page(session_id: str, path_to_turn_id: str) -> state_pb2.ListTurnsRequest:
    return state_pb2.ListTurnsRequest(session_id=session_id, path_to_turn_id=path_to_turn_id, page_size=PAGE)


def _raise(error: grpc.RpcError) -> NoReturn:
    raise CallError(failure_of(error)) from error
