"""The examples in Node: the official OpenAI client, and a gRPC client made from the protos, against a real gateway."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from limbic.runtime.server import RunningServer
from limbic.runtime.settings import GatewaySettings
from tests.gateway.conftest import House
from tools.generated import ROOT

NODE = ROOT / "examples" / "node"


@pytest.fixture(scope="session")
def node_modules() -> None:
    """Install what the lock file names. Without Node these tests are left out, except where all tests must run."""
    if not (shutil.which("node") and shutil.which("npm")):
        message = "Node is missing: apt-get install nodejs npm"
        pytest.fail(message) if os.environ.get("CI") else pytest.skip(message)


async def run(*command: str, timeout_s: float = 300.0) -> tuple[int, str, str]:
    """Run a command in the examples' folder, and return its status and what it wrote."""
    process = await asyncio.create_subprocess_exec(
        *command, cwd=NODE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    try:
        async with asyncio.timeout(timeout_s):
            out, errors = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode is not None
    return process.returncode, out.decode(), errors.decode()


@pytest.fixture
async def examples(node_modules: None) -> Path:
    lock, installed = NODE / "package-lock.json", NODE / "node_modules" / ".package-lock.json"
    if not installed.exists() or installed.stat().st_mtime < lock.stat().st_mtime:
        status, _, errors = await run("npm", "ci", "--no-audit", "--no-fund", "--loglevel=error")
        assert status == 0, errors
    return NODE


async def test_the_official_client_makes_the_tree_that_it_should(house: House, examples: Path) -> None:
    assert house.service is not None
    replies = iter(["You came.", "A little.", "Very.", "Yes.", "Stay.", "It is my face."])
    generate = house.model.generate

    def generate_next(request: Any, timeout_s: float) -> Any:
        house.model.words = [next(replies)]
        return generate(request, timeout_s)

    house.model.generate = generate_next  # type: ignore[method-assign]

    status, out, errors = await run("node", "chat.mjs", f"http://127.0.0.1:{house.service.http_port}/v1")

    assert status == 0, errors
    lines = [json.loads(line) for line in out.splitlines()]
    assert lines.pop(0) == {"step": "models", "models": ["limbic"]}
    assert lines.pop() == {"step": "refused", "status": 400, "param": "n", "type": "invalid_request_error"}
    steps = {line["step"]: line for line in lines}
    (session_id,) = {line["session_id"] for line in lines}
    first, second, kept, third, edit = (steps[name] for name in ("first", "second", "swipe again", "third", "edit"))
    assert steps["swipe"]["turn_id"] == second["turn_id"] == kept["turn_id"]
    tree = {
        turn.turn_id: turn.parent_turn_id for (session, _), turn in house.engine.turns.items() if session == session_id
    }
    assert tree == {
        first["turn_id"]: "",
        first["reply_turn_id"]: first["turn_id"],
        second["turn_id"]: first["reply_turn_id"],
        second["reply_turn_id"]: second["turn_id"],
        steps["swipe"]["reply_turn_id"]: second["turn_id"],
        kept["reply_turn_id"]: second["turn_id"],
        third["turn_id"]: kept["reply_turn_id"],
        third["reply_turn_id"]: third["turn_id"],
        edit["turn_id"]: first["reply_turn_id"],
        edit["reply_turn_id"]: edit["turn_id"],
    }
    felt = [line["turn_id"] for line in (first, second, third, edit)]
    assert sorted(house.engine.stimuli()) == sorted(f"{turn_id}:reading" for turn_id in felt)
    assert [line["affect"] for line in lines].count("already_felt") == 2


async def test_a_client_made_from_the_protos_takes_a_turn(parts: House, examples: Path) -> None:
    await parts.start()
    assert parts.service is not None
    # The example dials a port.
    settings = GatewaySettings().model_copy(update={"listen": "127.0.0.1:0"})
    server = RunningServer(_Again(parts.service), settings, drain_s=0.1, lame_duck_s=0)
    await server.start()
    try:
        taken = await run("node", "turn.mjs", "I made it!", "ada", f"127.0.0.1:{server.port}")
        refused = await run("node", "turn.mjs", "I made it!", "no id", f"127.0.0.1:{server.port}")
    finally:
        await server.stop()

    status, out, errors = taken
    assert (status, out) == (0, "Hello there.\n"), errors
    assert "[AFFECT_STATUS_IN_WINDOW]" in errors
    assert "[dopamine 58.0 BAND_STEADY]" in errors
    assert "[session ada, turn " in errors
    assert (refused[0], refused[2].startswith("INVALID_ARGUMENT: session_id: must be")) == (1, True)


class _Again:
    """A service that runs already, behind a second address."""

    def __init__(self, service: Any) -> None:
        self.full_name = service.full_name
        self._service = service

    def register(self, server: Any) -> None:
        self._service.register(server)

    async def start(self) -> None:
        pass

    def drain(self) -> None:
        pass

    async def stop(self) -> None:
        pass
