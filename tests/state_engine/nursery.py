"""Forks engines that have all their modules loaded: a real process each, without the second that Python needs to load them.

`python -m tests.state_engine.nursery` reads lines: `start` begins an engine and prints its process id, `wait` waits until it has ended.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from services.state_engine.__main__ import main as run_engine


def main() -> None:
    """Serve until the input ends; then end the engine that is left."""
    engine = 0
    for line in sys.stdin:
        if line.strip() == "start":
            engine = os.fork()
            if engine == 0:
                _child()
            print(engine, flush=True)  # noqa: T201
        else:
            _, status = os.waitpid(engine, 0)
            engine = 0
            print(os.waitstatus_to_exitcode(status), flush=True)  # noqa: T201
    if engine:
        os.kill(engine, signal.SIGKILL)
        os.waitpid(engine, 0)


def _child() -> None:
    # Python itself would run on in the parent's loop.
    status = 1
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    os.dup2(nothing, 1)
    try:
        run_engine()
        status = 0
    finally:
        os._exit(status)


class Nursery:
    """The process that forks, seen from the test."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def start(self) -> int:
        """Start an engine and return its process id. One at a time."""
        return int(await self._ask("start"))

    async def wait(self) -> int:
        """Wait until the engine has ended, and return its exit status, or the signal that ended it, negative."""
        return int(await self._ask("wait"))

    async def _ask(self, what: str) -> bytes:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{what}\n".encode())
        return await self._process.stdout.readline()


@asynccontextmanager
async def nursery(environment: dict[str, str]) -> AsyncIterator[Nursery]:
    """Run the process that forks for the length of a block."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.state_engine.nursery",
        env=environment,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        yield Nursery(process)
    finally:
        await process.communicate(b"")


if __name__ == "__main__":
    main()
