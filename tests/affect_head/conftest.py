from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from limbic.affect.v1 import affect_pb2_grpc
from limbic.runtime.channels import open_channel
from limbic.runtime.server import RunningServer
from limbic.runtime.settings import AffectSettings
from services.affect_head.encoder import EncoderHead, EncoderReader
from services.affect_head.server import AffectHeadService
from tests.affect_head.gated_head import GatedHead
from tests.affect_head.tiny_head import write_head


@pytest.fixture(scope="session")
def head_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random head of the served contract."""
    return write_head(tmp_path_factory.mktemp("head") / "tiny.gguf")


@pytest.fixture
def head(head_path: Path) -> Iterator[EncoderHead]:
    """That head, loaded."""
    head = EncoderHead(head_path, sha256="0" * 64, threads=1)
    yield head
    head.close()


@pytest.fixture
def reader(head: EncoderHead) -> Iterator[EncoderReader]:
    """One of its readers."""
    reader = head.open_reader()
    yield reader
    reader.close()


@pytest.fixture
def settings() -> AffectSettings:
    """Settings of a server on a free port of loopback, with one worker and a short queue."""
    changes = {"listen": "127.0.0.1:0", "metrics": None, "workers": 1, "queue": 2}
    return AffectSettings().model_copy(update=changes)


@pytest.fixture
async def server(settings: AffectSettings, head_path: Path) -> AsyncIterator[RunningServer]:
    """The service with the tiny head, behind a real port."""
    service = AffectHeadService(
        settings.model_copy(update={"queue": 64}), lambda: EncoderHead(head_path, sha256="0" * 64, threads=1)
    )
    server = RunningServer(service, settings, drain_s=0.5, lame_duck_s=0)
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
async def stub(server: RunningServer) -> AsyncIterator[affect_pb2_grpc.AffectHeadServiceAsyncStub]:
    """A client of that server."""
    async with open_channel(f"127.0.0.1:{server.port}") as channel:
        yield affect_pb2_grpc.AffectHeadServiceStub(channel)


@pytest.fixture
def gated() -> Iterator[GatedHead]:
    """A head whose readings wait until they are let go."""
    head = GatedHead()
    yield head
    head.let_all_go()


@pytest.fixture
async def gated_stub(
    gated: GatedHead, settings: AffectSettings
) -> AsyncIterator[affect_pb2_grpc.AffectHeadServiceAsyncStub]:
    """A client of a service with that head: one worker, two places in the queue."""
    server = RunningServer(AffectHeadService(settings, lambda: gated), settings, drain_s=0.5, lame_duck_s=0)
    await server.start()
    gated.hold()
    async with open_channel(f"127.0.0.1:{server.port}") as channel:
        yield affect_pb2_grpc.AffectHeadServiceStub(channel)
    gated.let_all_go()
    await server.stop()
