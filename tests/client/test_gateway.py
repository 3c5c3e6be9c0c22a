"""Every call of the gateway, through the clients, against a real one before a real state engine."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import grpc
import pytest

from limbic.client import CallError, GatewayClient, LimbicClient, SyncGatewayClient, SyncLimbicClient
from limbic.gateway.v1 import gateway_pb2
from limbic.state.v1 import state_pb2
from tests.client.conftest import Addresses


async def test_a_turn_is_events_by_their_types(together: Addresses) -> None:
    earlier = datetime.now(UTC) - timedelta(hours=2)
    async with LimbicClient(together.gateway, together.state_engine) as limbic:
        async with limbic.turn("I missed you", session_id="ada", turn_id="t1", occurred_at=earlier) as turn:
            events = [event async for event in turn.events()]
        async with limbic.turn("And I you", session_id="ada", parent_turn_id="t1") as turn:
            text = "".join([part async for part in turn.text()])
        said, *_ = await limbic.turns("ada")
        state = await limbic.state("ada", turn_id="t1")

    kinds = [type(event) for event in events]
    assert kinds[:2] == [gateway_pb2.StateUpdate, gateway_pb2.AffectUpdate]
    assert {*kinds[2:-1]} == {gateway_pb2.Delta}
    done = events[-1]
    assert isinstance(done, gateway_pb2.Done)
    assert (done.trace.session_id, text) == ("ada", "Hello there.")
    assert (said.turn_id, said.role, said.occurred_at.ToDatetime(UTC)) == ("t1", state_pb2.ROLE_USER, earlier)
    assert state.turn_id == "t1"


async def test_telemetry_is_read_and_watched(together: Addresses) -> None:
    async with GatewayClient(together.gateway) as gateway:
        async with gateway.turn("Hello", session_id="ada") as turn:
            _ = [response async for response in turn]
        once = await gateway.get_telemetry_snapshot()
        async with gateway.watch_telemetry(interval_s=0.2) as snapshots:
            seen = [await anext(snapshots) for _ in range(2)]

    assert once.turns_total == seen[-1].turns_total == 1
    assert seen[0].as_of.ToNanoseconds() < seen[1].as_of.ToNanoseconds()


async def test_the_same_without_an_event_loop(together: Addresses) -> None:
    def talk() -> tuple[str, int, str]:
        with SyncLimbicClient(together.gateway, together.state_engine) as limbic:
            with limbic.turn("Hello", session_id="ada") as turn:
                text = "".join(turn.text())
            with limbic.turn("Hello again", session_id="ada") as turn:
                assert [type(event) for event in turn.events()][-1] is gateway_pb2.Done
            with limbic.gateway.watch_telemetry(interval_s=0.2) as snapshots:
                total = next(snapshots).turns_total
        with SyncGatewayClient(together.gateway) as gateway:
            assert gateway.get_telemetry_snapshot().turns_total == total
            with pytest.raises(CallError) as caught, gateway.turn("", session_id="ada") as turn:
                next(turn)
        return text, total, caught.value.field

    assert await asyncio.to_thread(talk) == ("Hello there.", 2, "text")


async def test_a_turn_that_takes_longer_than_it_may_is_broken_off(together: Addresses) -> None:
    async with GatewayClient(together.gateway) as gateway:
        with pytest.raises(ValueError, match="more than 0"):
            async with gateway.turn("Hello", deadline_s=-1.0):
                pass
        with pytest.raises(CallError) as refused:
            async with gateway.turn("Hello", session_id="no id") as turn:
                await anext(turn)

    assert (refused.value.code, refused.value.field) == (grpc.StatusCode.INVALID_ARGUMENT, "session_id")
