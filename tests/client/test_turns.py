from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest

from limbic.client import CallError, LimbicClient, SyncLimbicClient
from limbic.gateway.v1 import gateway_pb2, gateway_pb2_grpc
from limbic.runtime.errors import InvalidArgumentError, NotFoundError
from limbic.runtime.server import RunningServer
from limbic.runtime.settings import ServerSettings
from limbic.state.v1 import state_pb2, state_pb2_grpc

PAGES = {"": (["c", "d"], "older"), "older": (["a", "b"], "")}


class UnknownSessionError(NotFoundError):
    reason = "SESSION_NOT_FOUND"


class ScriptedGateway(gateway_pb2_grpc.GatewayServiceServicer):
    """Echoes the words; a turn of the session `endless` goes on until it is cancelled."""

    full_name = "limbic.gateway.v1.GatewayService"

    def __init__(self) -> None:
        self.requests: list[gateway_pb2.TurnRequest] = []
        self.cancelled = asyncio.Event()

    def register(self, server: grpc.aio.Server) -> None:
        gateway_pb2_grpc.add_GatewayServiceServicer_to_server(self, server)

    async def start(self) -> None:
        pass

    def drain(self) -> None:
        pass

    async def stop(self) -> None:
        pass

    async def Turn(self, request: gateway_pb2.TurnRequest, context: Any) -> AsyncIterator[gateway_pb2.TurnResponse]:
        self.requests.append(request)
        if not request.text:
            raise InvalidArgumentError("text", "must not be empty")
        try:
            yield gateway_pb2.TurnResponse(delta=gateway_pb2.Delta(text=request.text))
            if request.session_id == "endless":
                await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise


class ScriptedState(state_pb2_grpc.StateEngineServiceServicer):
    """Knows one session, `known`, and lists its turns on two pages."""

    full_name = "limbic.state.v1.StateEngineService"

    def register(self, server: grpc.aio.Server) -> None:
        state_pb2_grpc.add_StateEngineServiceServicer_to_server(self, server)

    async def start(self) -> None:
        pass

    def drain(self) -> None:
        pass

    async def stop(self) -> None:
        pass

    async def GetState(self, request: state_pb2.GetStateRequest, context: Any) -> state_pb2.GetStateResponse:
        if request.session_id != "known":
            raise UnknownSessionError("there is no such session")
        return state_pb2.GetStateResponse(state=state_pb2.State(session_id="known", turn_id=request.turn_id))

    async def ListTurns(self, request: state_pb2.ListTurnsRequest, context: Any) -> state_pb2.ListTurnsResponse:
        ids, token = PAGES[request.page_token]
        return state_pb2.ListTurnsResponse(turns=[state_pb2.Turn(turn_id=i) for i in ids], next_page_token=token)


@pytest.fixture
async def gateway() -> ScriptedGateway:
    return ScriptedGateway()


@pytest.fixture
async def addresses(gateway: ScriptedGateway) -> AsyncIterator[tuple[str, str]]:
    settings = ServerSettings(listen="127.0.0.1:1").model_copy(update={"listen": "127.0.0.1:0"})
    servers = [RunningServer(service, settings, lame_duck_s=0) for service in (gateway, ScriptedState())]
    for server in servers:
        await server.start()
    yield f"127.0.0.1:{servers[0].port}", f"127.0.0.1:{servers[1].port}"
    for server in servers:
        await server.stop()


@pytest.fixture
async def client(addresses: tuple[str, str]) -> AsyncIterator[LimbicClient]:
    async with LimbicClient(*addresses) as client:
        yield client


async def test_a_turn_streams_its_responses(client: LimbicClient, gateway: ScriptedGateway) -> None:
    async with client.turn("Hello", session_id="s", turn_id="t", parent_turn_id="", persona="p") as turn:
        texts = [response.delta.text async for response in turn]

    assert texts == ["Hello"]
    (request,) = gateway.requests
    assert (request.session_id, request.turn_id, request.persona) == ("s", "t", "p")
    assert request.HasField("parent_turn_id")


async def test_without_a_parent_the_turn_follows_the_tip(client: LimbicClient, gateway: ScriptedGateway) -> None:
    async with client.turn("Hello") as turn:
        _ = [response async for response in turn]

    assert not gateway.requests[0].HasField("parent_turn_id")


async def test_leaving_the_block_ends_the_turn(client: LimbicClient, gateway: ScriptedGateway) -> None:
    async with client.turn("Hello", session_id="endless") as turn:
        await anext(turn)

    await asyncio.wait_for(gateway.cancelled.wait(), 5)


async def test_a_refusal_carries_code_reason_and_field(client: LimbicClient) -> None:
    with pytest.raises(CallError) as caught:
        async with client.turn("") as turn:
            await anext(turn)

    failure = caught.value.failure
    assert (failure.code, failure.metadata) == (grpc.StatusCode.INVALID_ARGUMENT, {"field": "text"})
    assert "must not be empty" in str(caught.value)


async def test_a_gateway_that_is_not_there_is_an_error_of_the_same_kind() -> None:
    async with LimbicClient("127.0.0.1:1", "127.0.0.1:1") as client:
        with pytest.raises(CallError) as caught:
            async with client.turn("Hello") as turn:
                await anext(turn)

    assert caught.value.failure.code is grpc.StatusCode.UNAVAILABLE


async def test_states_are_read(client: LimbicClient) -> None:
    assert (await client.state("known", turn_id="t")).turn_id == "t"
    with pytest.raises(CallError) as caught:
        await client.state("unknown")
    assert caught.value.failure.reason == "SESSION_NOT_FOUND"


async def test_all_pages_of_turns_are_listed_oldest_first(client: LimbicClient) -> None:
    assert [turn.turn_id for turn in await client.turns("known")] == ["a", "b", "c", "d"]


async def test_the_same_without_an_event_loop(addresses: tuple[str, str], gateway: ScriptedGateway) -> None:
    def talk() -> tuple[list[str], list[str], str]:
        with SyncLimbicClient(*addresses) as client:
            with client.turn("Hello") as turn:
                texts = [response.delta.text for response in turn]
            with client.turn("Hello", session_id="endless") as turn:
                next(turn)
            with pytest.raises(CallError) as caught:
                client.state("unknown")
            return texts, [t.turn_id for t in client.turns("known")], caught.value.failure.reason

    assert await asyncio.to_thread(talk) == (["Hello"], ["a", "b", "c", "d"], "SESSION_NOT_FOUND")
    await asyncio.wait_for(gateway.cancelled.wait(), 5)
