"""The head as a process: it serves a good file, and ends with a sentence for a bad one."""

from __future__ import annotations

import asyncio
import functools
import json
import os
import signal
import socket
import sys
import threading
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from limbic.affect.v1 import affect_pb2, affect_pb2_grpc
from limbic.runtime.channels import open_channel
from limbic.runtime.models import ModelFileError
from limbic.runtime.settings import AffectSettings
from services.affect_head.errors import HeadFileError
from services.affect_head.loading import open_head
from services.affect_head.server import AffectHeadService
from tests.affect_head.gated_head import GatedHead
from tests.affect_head.tiny_head import HeadSpec, write_head

ROOT = Path(__file__).resolve().parents[2]


def free_address() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


async def start_process(**settings: str) -> asyncio.subprocess.Process:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("LIMBIC_")}
    environment |= {f"LIMBIC_AFFECT__{name.upper()}": value for name, value in settings.items()}
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "services.affect_head", cwd=ROOT, env=environment, stdout=asyncio.subprocess.PIPE
    )


async def until_serving(channel: grpc.aio.Channel) -> None:
    watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(), wait_for_ready=True, timeout=60)
    async for response in watch:
        if response.status == health_pb2.HealthCheckResponse.SERVING:
            break
    watch.cancel()


async def test_a_good_file_is_served_until_sigterm(tmp_path: Path, head_path: Path) -> None:
    address = f"unix:{tmp_path / 'affect.sock'}"
    process = await start_process(model=str(head_path), listen=address, metrics=free_address())
    try:
        async with open_channel(address) as channel:
            stub = affect_pb2_grpc.AffectHeadServiceStub(channel)
            await until_serving(channel)
            card = await stub.GetModelCard(affect_pb2.GetModelCardRequest())
    finally:
        process.send_signal(signal.SIGTERM)
        await process.communicate()

    assert card.head.id == "tiny-random"
    assert len(card.sha256) == 64
    assert process.returncode == 0


@pytest.mark.parametrize(
    ("fields", "sha256", "sentence"),
    [
        ({"affect.schema_version": 9}, "", "affect.schema_version is 9"),
        ({}, "0" * 64, "expected 0000"),
    ],
)
async def test_a_bad_file_ends_the_start_with_a_sentence(
    tmp_path: Path, fields: dict[str, int], sha256: str, sentence: str
) -> None:
    path = write_head(tmp_path / "bad.gguf", HeadSpec(fields=fields))
    process = await start_process(
        model=str(path), model_sha256=sha256, listen=f"unix:{tmp_path / 'affect.sock'}", metrics=free_address()
    )

    output, _ = await process.communicate()

    assert process.returncode == 1
    last = json.loads(output.splitlines()[-1])
    assert last["level"] == "error"
    assert sentence in last["reason"]


async def test_a_head_that_fails_half_way_is_closed(settings: AffectSettings, tmp_path: Path) -> None:
    class NoSecondReader(GatedHead):
        def open_reader(self) -> GatedHead:
            if self.started:
                raise HeadFileError(tmp_path, "no memory for another reader")
            self.started.append("reader")
            return self

    head = NoSecondReader()
    service = AffectHeadService(settings.model_copy(update={"workers": 2}), lambda: head)

    with pytest.raises(HeadFileError):
        await service.start()
    await service.stop()

    # The first reader and the head itself.
    assert head.closed == 2


async def test_a_model_that_is_not_there_is_said_to_be_missing(settings: AffectSettings, tmp_path: Path) -> None:
    settings = settings.model_copy(update={"model": str(tmp_path / "nothing.gguf")})
    service = AffectHeadService(settings, functools.partial(open_head, settings))

    with pytest.raises(ModelFileError, match="does not exist"):
        await service.start()
    await service.stop()


async def test_the_thread_that_warmed_the_readers_is_gone_when_the_service_serves(settings: AffectSettings) -> None:
    loaders: list[threading.Thread] = []

    class NotingHead(GatedHead):
        def open_reader(self) -> GatedHead:
            loaders.append(threading.current_thread())
            return self

    service = AffectHeadService(settings, NotingHead)

    await service.start()

    assert [thread.is_alive() for thread in loaders] == [False]
    await service.stop()
