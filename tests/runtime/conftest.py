from __future__ import annotations

import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import grpc
import pytest

from limbic.affect.v1 import affect_pb2_grpc
from limbic.runtime.channels import open_channel
from limbic.runtime.server import RunningServer
from limbic.runtime.settings import ServerSettings
from tests.runtime.scripted_service import ScriptedService


def loopback(**changes: float) -> ServerSettings:
    """Settings of a server on a free port of loopback."""
    return ServerSettings(listen="127.0.0.1:1").model_copy(update={"listen": "127.0.0.1:0", **changes})


@pytest.fixture
def short_directory() -> Iterator[Path]:
    """A directory whose path is short enough for Unix sockets."""
    directory = Path(tempfile.mkdtemp(prefix="limbic-"))
    yield directory
    shutil.rmtree(directory)


@pytest.fixture
async def service() -> ScriptedService:
    return ScriptedService()


@pytest.fixture
async def server(service: ScriptedService) -> AsyncIterator[RunningServer]:
    server = RunningServer(service, loopback(default_deadline_s=7.0, max_deadline_s=20.0), lame_duck_s=0, drain_s=0.2)
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
async def channel(server: RunningServer) -> AsyncIterator[grpc.aio.Channel]:
    async with open_channel(f"127.0.0.1:{server.port}") as channel:
        yield channel


@pytest.fixture
def stub(channel: grpc.aio.Channel) -> affect_pb2_grpc.AffectHeadServiceAsyncStub:
    return affect_pb2_grpc.AffectHeadServiceStub(channel)
