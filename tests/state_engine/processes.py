"""Engines as processes of their own, which can be killed."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from limbic.runtime.settings import ENV_PREFIX

ANSWER_S = 30.0


async def until_serving(channel: grpc.aio.Channel) -> None:
    """Wait until the server at the other end is there and has loaded what it needs."""
    watch = health_pb2_grpc.HealthStub(channel).Watch(
        health_pb2.HealthCheckRequest(), timeout=ANSWER_S, wait_for_ready=True
    )
    async for seen in watch:
        if seen.status == health_pb2.HealthCheckResponse.SERVING:
            break
    watch.cancel()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def environment_of(folder: Path, name: str = "engine", **extra: str) -> dict[str, str]:
    """Return the environment of an engine on the Unix socket NAME.socket in a folder, with its journal there unless told otherwise."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(ENV_PREFIX)}
    return environment | {
        "LIMBIC_STATE__LISTEN": f"unix:{folder / name}.socket",
        "LIMBIC_STATE__METRICS": f"127.0.0.1:{free_port()}",
        "LIMBIC_STATE__JOURNAL_URL": f"sqlite:///{folder / 'journal.sqlite3'}",
        "LIMBIC_RUNTIME__LAME_DUCK_S": "0",
        **extra,
    }


@asynccontextmanager
async def engine_process(folder: Path, name: str = "engine", **extra: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run an engine for the length of a block."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "services.state_engine",
        env=environment_of(folder, name, **extra),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()
