"""How a server goes down while streams without an end are open."""

from __future__ import annotations

import asyncio

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from limbic.runtime.channels import open_channel
from limbic.runtime.drain import Drain
from limbic.runtime.errors import ServerDrainingError
from limbic.runtime.server import RunningServer
from tests.runtime.conftest import loopback
from tests.runtime.scripted_service import FULL_NAME, ScriptedService

HealthCheckRequest, Status = health_pb2.HealthCheckRequest, health_pb2.HealthCheckResponse


async def test_work_that_ends_is_passed_on() -> None:
    assert await Drain().unless_begun(asyncio.sleep(0, "done")) == "done"


async def test_work_that_fails_raises() -> None:
    async def fail() -> None:
        raise ValueError("as it was")

    with pytest.raises(ValueError, match="as it was"):
        await Drain().unless_begun(fail())


async def test_work_without_an_end_is_cancelled_when_the_server_goes_down() -> None:
    drain, cancelled, began = Drain(), asyncio.Event(), asyncio.Event()

    async def watch() -> None:
        began.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    waiting = asyncio.create_task(drain.unless_begun(watch()))
    await began.wait()
    assert not drain.begun
    drain.begin()

    with pytest.raises(ServerDrainingError):
        await waiting
    assert cancelled.is_set()
    with pytest.raises(ServerDrainingError):
        await drain.unless_begun(asyncio.Event().wait())


async def test_a_caller_who_goes_away_cancels_the_work() -> None:
    drain, cancelled, began = Drain(), asyncio.Event(), asyncio.Event()

    async def watch() -> None:
        began.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    waiting = asyncio.create_task(drain.unless_begun(watch()))
    await began.wait()
    waiting.cancel()

    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert cancelled.is_set()


async def test_a_watch_of_the_health_hears_of_the_end_and_does_not_hold_it_up() -> None:
    service = ScriptedService()
    server = RunningServer(service, loopback(), drain_s=600.0, lame_duck_s=0.5)
    await server.start()
    async with open_channel(f"127.0.0.1:{server.port}") as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        calls = [stub.Watch(HealthCheckRequest(service=name)) for name in ("", FULL_NAME)]
        watches = [aiter(call) for call in calls]
        assert [(await anext(watch)).status for watch in watches] == [Status.SERVING] * 2

        # The grace is ten minutes; whoever waits for it fails here.
        async with asyncio.timeout(60.0):
            await server.stop()
        rest = [[answer.status async for answer in watch] for watch in watches]
        codes = [await call.code() for call in calls]

    assert rest == [[Status.NOT_SERVING]] * 2
    assert codes == [grpc.StatusCode.OK] * 2


async def test_a_service_learns_of_the_end_while_its_calls_still_go_on(
    server: RunningServer, service: ScriptedService
) -> None:
    stopping = asyncio.create_task(server.stop())
    await service.drained.wait()

    assert not service.stopped.is_set()
    await stopping
    assert service.stopped.is_set()
