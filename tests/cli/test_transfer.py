"""`limbic export`, `import` and `delete` against a real engine."""

from __future__ import annotations

import asyncio
import json
import stat
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from limbic.cli import app
from limbic.state.v1 import state_pb2
from tests.state_engine.calls import felt, opened, said, state_at
from tests.state_engine.parts import Running, SetClock, running_engine


@pytest.fixture
async def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Running]:
    async with running_engine(tmp_path / "journal.sqlite3", SetClock()) as running:
        monkeypatch.setenv("LIMBIC_GATEWAY__STATE_TARGET", running.target)
        yield running


async def limbic(*arguments: str, typed: str = "") -> Result:
    """Run a command, as a shell would, beside the engine's own event loop."""
    return await asyncio.to_thread(lambda: CliRunner().invoke(app, list(arguments), input=typed))


async def test_a_session_goes_out_away_and_in_again(engine: Running, tmp_path: Path) -> None:
    await opened(engine)
    await said(engine, "t", felt("f"))
    before = await state_at(engine)
    file = tmp_path / "s.jsonl"

    shown = await limbic("export", "s")
    assert shown.exit_code == 0
    assert [json.loads(line)["fact"] for line in shown.stdout.splitlines()] == ["session", "turn", "stimulus", "end"]
    written = await limbic("export", "s", "--output", str(file))
    assert (written.exit_code, written.stdout) == (0, f"s: 3 facts in {file}\n")
    assert file.read_text("utf-8") == shown.stdout
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert not file.with_name("s.jsonl.partial").exists()

    assert (await limbic("delete", "s", typed="n\n")).exit_code == 1
    assert (await state_at(engine)).revision == 3
    gone = await limbic("delete", "s", typed="y\n")
    assert (gone.exit_code, gone.stdout.splitlines()[-1]) == (0, "s: 3 facts deleted")
    assert (await limbic("delete", "s", "--yes")).stdout.strip() == "s: no such session"

    back = await limbic("import", str(file))
    assert (back.exit_code, back.stdout.strip()) == (0, "s: 3 facts")
    assert await state_at(engine) == before
    assert "was there already" in (await limbic("import", str(file))).stdout
    assert (await limbic("import", str(file), "--as", "copy")).stdout.strip() == "copy: 3 facts"


async def test_what_fails_says_why_and_leaves_nothing(engine: Running, tmp_path: Path) -> None:
    file = tmp_path / "s.jsonl"
    missing = await limbic("export", "nowhere", "--output", str(file))
    assert (missing.exit_code, file.exists()) == (1, False)
    assert "there is no session nowhere" in missing.stderr

    file.write_text('{"fact":"session"}\n', "utf-8")
    refused = await limbic("import", str(file))
    assert refused.exit_code == 1
    assert "line 1: " in refused.stderr
    assert (await limbic("import", str(tmp_path / "nothing"))).exit_code == 1
    file.write_bytes(b"\xff\xfe")
    broken = await limbic("import", str(file))
    assert broken.exit_code == 1
    assert "UTF-8" in broken.stderr
    with pytest.raises(Exception, match="nowhere"):
        await engine.stub.GetState(state_pb2.GetStateRequest(session_id="nowhere"))
