"""A real server that speaks the OpenAI protocol: llama-cpp-python's own, in a process of its own, with the bundled model."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import psutil

from limbic.runtime.models import find_model

READY_S = 120.0

_LISTENS = re.compile(r"running on (http://127\.0\.0\.1:\d+)")


class LlamaCppServer:
    """The running server.

    Attributes:
        url: its base URL.
    """

    def __init__(self, url: str, pid: int) -> None:
        self.url = f"{url}/v1"
        self._process = psutil.Process(pid)

    def cpu_s(self) -> float:
        """Processor seconds that it has used."""
        times = self._process.cpu_times()
        return float(times.user + times.system)


@asynccontextmanager
async def llama_cpp_server(log: Path, *, context_tokens: int, threads: int) -> AsyncIterator[LlamaCppServer]:
    """Start it on a free port, and wait until it listens, which it does once the model is loaded."""
    arguments = ["--model", str(find_model("smollm2-135m-instruct").path), "--model_alias", "smollm2"]
    arguments += ["--host", "127.0.0.1", "--port", "0", "--n_ctx", str(context_tokens)]
    arguments += ["--n_threads", str(threads), "--n_threads_batch", str(threads)]
    with log.open("wb") as file:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "llama_cpp.server",
            *arguments,
            stdout=file,
            stderr=file,
            # These would win over the arguments.
            env={name: value for name, value in os.environ.items() if name not in ("HOST", "PORT", "CONFIG_FILE")},
        )
    try:
        yield LlamaCppServer(await _address(log, process), process.pid)
    finally:
        process.terminate()
        await process.wait()


async def _address(log: Path, process: asyncio.subprocess.Process) -> str:
    async with asyncio.timeout(READY_S):
        while (found := _LISTENS.search(text := await asyncio.to_thread(log.read_text, "utf-8", "replace"))) is None:
            assert process.returncode is None, text
            await asyncio.sleep(0.05)
    return found[1]
