"""The examples in Python, as somebody runs them, against real servers."""

from __future__ import annotations

import asyncio
import sys

from tests.client.conftest import Addresses
from tools.generated import ROOT

WITHIN_S = 60.0


async def run(example: str, *arguments: str) -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        f"examples/{example}",
        *arguments,
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(WITHIN_S):
            out, errors = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode is not None
    return process.returncode, out.decode(), errors.decode()


async def test_the_one_for_asyncio_takes_a_turn_and_watches_it(together: Addresses) -> None:
    where = ("--gateway", together.gateway, "--state-engine", together.state_engine)
    status, out, errors = await run("python_async.py", "I missed you", "--session", "ada", *where)
    assert (status, out) == (0, "Hello there."), errors
    assert "[AFFECT_STATUS_IN_WINDOW]" in errors
    assert errors.count("[dopamine ") >= 2
    assert "by: I missed you]" in errors

    status, _, errors = await run("python_async.py", "I missed you", "--session", "no id", *where)
    assert status == 1
    assert errors.startswith("INVALID_ARGUMENT: session_id: must be")


async def test_the_one_without_an_event_loop_plays_a_game(together: Addresses) -> None:
    status, out, errors = await run("python_sync.py", "--state-engine", together.state_engine)
    assert status == 0, errors
    felt, tame, steady = out.splitlines()
    assert felt.startswith("cortisol ")
    assert felt.endswith((": tense", ": alarmed"))
    assert tame == "and had they been tame: 30.0"
    assert steady.startswith("a steady character a second ago: ")

    status, _, errors = await run("python_sync.py", "--state-engine", together.state_engine, "--session", "no id")
    assert (status, errors.rstrip().endswith("(INVALID_ARGUMENT, field: session_id)")) == (1, True)
