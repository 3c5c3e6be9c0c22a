"""A gateway of the probe's own beside the running one: the same engine and model, and a head that the probe can slow or end."""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from limbic.probes.errors import NotProbedError
from limbic.probes.system import Targets
from limbic.runtime.channels import open_channel
from limbic.supervision.supervisor import ROOT

READY_S = 60.0
POLL_S = 0.1


@asynccontextmanager
async def own_gateway(targets: Targets) -> AsyncIterator[tuple[str, str]]:
    """Start a gateway, and yield its address and the one at which it looks for its head. It is ended at the end of the block.

    Raises:
        NotProbedError: it does not begin to serve.
    """
    with tempfile.TemporaryDirectory(prefix="limbic-") as directory:
        gateway, head = f"unix:{directory}/gateway", f"unix:{directory}/head"
        own = {
            "LIMBIC_GATEWAY__LISTEN": gateway,
            "LIMBIC_GATEWAY__HTTP": f"unix:{directory}/http",
            "LIMBIC_GATEWAY__STATE_TARGET": targets.state_engine,
            "LIMBIC_GATEWAY__AFFECT_TARGET": head,
            "LIMBIC_GATEWAY__LLM_TARGET": targets.living_llm,
            "LIMBIC_RUNTIME__DATA_DIR": str(Path(directory) / "var"),
            "LIMBIC_RUNTIME__LOGS_DIR": str(Path(directory) / "logs"),
        }
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "gateway",
            cwd=ROOT,
            env={**os.environ, **own},
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        try:
            await _until_ready(gateway, process)
            yield gateway, head
        finally:
            if process.returncode is None:
                process.terminate()
            await process.wait()


async def _until_ready(target: str, process: asyncio.subprocess.Process) -> None:
    request = health_pb2.HealthCheckRequest()
    async with open_channel(target) as channel:
        check: Any = health_pb2_grpc.HealthStub(channel).Check
        for _ in range(round(READY_S / POLL_S)):
            if process.returncode is not None:
                raise NotProbedError(f"a gateway of the probe's own ended with status {process.returncode}")
            try:
                answer = await check(request, timeout=READY_S)
                if answer.status == health_pb2.HealthCheckResponse.SERVING:
                    return
            except grpc.RpcError:
                pass
            await asyncio.sleep(POLL_S)
    raise NotProbedError(f"a gateway of the probe's own did not begin to serve within {READY_S:.0f} s")
