"""`limbic explain`, `replay` and `temperament` as processes of their own, against a real engine and a real head."""

from __future__ import annotations

import asyncio
import functools
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from limbic.cli import app
from limbic.runtime.server import RunningServer
from limbic.runtime.settings import AffectSettings
from limbic.state.v1 import state_pb2
from services.affect_head.loading import open_head
from services.affect_head.server import AffectHeadService
from tests.state_engine.calls import felt, opened, said
from tests.state_engine.parts import Running, SetClock, running_engine

PNG = b"\x89PNG\r\n\x1a\n"
ROOT = Path(__file__).resolve().parents[2]
TEMPERAMENTS = ROOT / "services" / "state_engine" / "temperaments"


async def limbic(folder: Path, *arguments: str, **targets: str) -> tuple[int, str, str]:
    """Run the command in a folder, and return its exit status and what it wrote to stdout and stderr."""
    environment = {f"LIMBIC_GATEWAY__{name.upper()}_TARGET": target for name, target in targets.items()}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "limbic.cli", *arguments,
        cwd=folder, env={**os.environ, **environment, "PYTHONPATH": str(ROOT), "COLUMNS": "160"},
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[Running]:
    async with running_engine(tmp_path / "journal.sqlite3", SetClock()) as running:
        await opened(running)
        for number, stimulus in enumerate((felt("mild", -0.2, 0.1), felt("strong", -0.9, 0.9))):
            await said(running, f"t{number}", stimulus)
            running.clock.pass_s(600)
        yield running


@asynccontextmanager
async def running_head() -> AsyncIterator[str]:
    settings = AffectSettings().model_copy(update={"listen": "127.0.0.1:0"})
    service = AffectHeadService(settings, functools.partial(open_head, settings))
    server = RunningServer(service, settings, drain_s=1.0, lame_duck_s=0.0)
    try:
        await server.start()
        yield f"127.0.0.1:{server.port}"
    finally:
        await server.stop()


async def test_explain_prints_a_table_and_bars_largest_first(engine: Running, tmp_path: Path) -> None:
    status, out, _ = await limbic(tmp_path, "explain", "s", state=engine.target)

    assert status == 0
    assert out.index("words of t1") < out.index("words of t0")
    assert "half left after" in out
    assert "█" in out
    assert "│" in out


async def test_explain_says_what_it_leaves_out(engine: Running, tmp_path: Path) -> None:
    _, out, _ = await limbic(tmp_path, "explain", "s", "--limit", "1", state=engine.target)

    assert "words of t0" not in out
    assert "all others" in out


async def test_a_session_that_is_not_there_is_one_line_and_status_1(engine: Running, tmp_path: Path) -> None:
    for command in ("explain", "replay"):
        status, out, err = await limbic(tmp_path, command, "nowhere", state=engine.target)

        assert (status, out) == (1, "")
        assert "SESSION_NOT_FOUND" in err
        assert "Traceback" not in err


async def test_replay_shows_both_curves_and_their_difference(engine: Running, tmp_path: Path) -> None:
    by_name = await limbic(tmp_path, "replay", "s", "--temperament", "volatile", state=engine.target)
    by_file = await limbic(
        tmp_path, "replay", "s", "--temperament", str(TEMPERAMENTS / "volatile.toml"), "--output", "other.svg",
        state=engine.target,
    )  # fmt: skip

    assert by_name[0] == by_file[0] == 0
    assert (tmp_path / "replay-s.png").read_bytes().startswith(PNG)
    assert "<svg" in (tmp_path / "other.svg").read_text(encoding="utf-8")
    table = by_name[1].partition("plot:")[0]
    assert table == by_file[1].partition("plot:")[0]
    assert table.index("words of t0") < table.index("words of t1") < table.index("largest difference")


async def test_replay_has_the_head_read_the_kept_words_again(engine: Running, tmp_path: Path) -> None:
    plain = await limbic(tmp_path, "replay", "s", state=engine.target)
    async with running_head() as head:
        again = await limbic(tmp_path, "replay", "s", "--readings-from-head", state=engine.target, affect=head)

    assert plain[0] == again[0] == 0
    assert "(+0.0)" in plain[1]
    largest = again[1].rpartition("largest difference")[2].split()
    assert max(float(value) for value in largest[:5]) > 1.0, "a head does not read `words of t1` as an attack"


async def test_words_that_are_not_kept_cannot_be_read_again(engine: Running, tmp_path: Path) -> None:
    await engine.stub.CreateSession(state_pb2.CreateSessionRequest(session_id="silent", keep_text=False))
    await said(engine, "t", felt("f"), session="silent")

    status, _, err = await limbic(tmp_path, "replay", "silent", "--readings-from-head", state=engine.target)

    assert status == 1
    assert "does not keep its words" in err


async def test_replay_says_what_is_wrong_with_a_file_before_it_computes_anything(
    engine: Running, tmp_path: Path
) -> None:
    broken = (TEMPERAMENTS / "steady.toml").read_text(encoding="utf-8").replace("baseline = 30.0", "baseline = 300.0")
    (tmp_path / "mine.toml").write_text(broken, encoding="utf-8")
    for arguments, said_so in (
        (("--temperament", "mine.toml"), "mine.toml: hormones.cortisol.baseline: input should be less than"),
        (("--temperament", "none.toml"), "none.toml cannot be read: No such file"),
        (("--output", "plot.bmp"), "plot.bmp: give it the ending .png or .svg"),
        (("--output", "nowhere/plot.png"), "there is no folder nowhere"),
    ):
        status, out, err = await limbic(tmp_path, "replay", "s", *arguments, state=engine.target)

        assert (status, out) == (1, "")
        assert err.startswith(f"error: {said_so}") or said_so in err
        assert len(err.splitlines()) == 1


async def test_explain_goes_back_to_a_moment(engine: Running, tmp_path: Path) -> None:
    first = engine.clock.timestamp(-1_200).ToDatetime(UTC).astimezone()
    _, out, _ = await limbic(tmp_path, "explain", "s", "--at", f"{first:%Y-%m-%dT%H:%M:%S}", state=engine.target)
    ahead = await limbic(tmp_path, "explain", "s", "--at", "2099-01-01T00:00", state=engine.target)

    assert "words of t0" in out
    assert "words of t1" not in out
    assert (ahead[0], "as_of: lies" in ahead[2]) == (1, True)


def in_process(*arguments: str) -> Result:
    return CliRunner().invoke(app, [*arguments])


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_temperament_is_checked_with_file_key_and_reason(here: Path) -> None:
    text = (TEMPERAMENTS / "steady.toml").read_text(encoding="utf-8")
    (here / "good.toml").write_text(text, encoding="utf-8")
    (here / "bad.toml").write_text(text.replace("baseline = 30.0", "baseline = 300.0"), encoding="utf-8")

    good = in_process("temperament", "check", "good.toml")
    bad = in_process("temperament", "check", "bad.toml")
    nowhere = in_process("temperament", "check", "nowhere.toml")

    assert good.exit_code == 0
    assert "good.toml: can be used" in good.stdout
    assert (bad.exit_code, nowhere.exit_code) == (1, 1)
    assert "bad.toml: hormones.cortisol.baseline:" in bad.stderr
    assert "nowhere.toml cannot be read" in nowhere.stderr


@pytest.mark.parametrize("name", ["default", "steady", "volatile", "predecessor"])
def test_each_shipped_temperament_can_be_drawn(name: str, here: Path) -> None:
    drawn = in_process("temperament", "plot", name)

    assert (drawn.exit_code, drawn.stdout) == (0, f"plot: temperament-{name}.png\n")
    assert (here / f"temperament-{name}.png").read_bytes().startswith(PNG)


def test_a_plot_has_the_same_bytes_each_time(here: Path) -> None:
    for name in ("one.png", "two.png"):
        in_process("temperament", "plot", "default", "--output", name)

    assert (here / "one.png").read_bytes() == (here / "two.png").read_bytes()


def test_what_cannot_be_drawn_is_one_line_and_status_1(here: Path) -> None:
    for arguments, reason in (
        (("nobody",), "there is no temperament nobody"),
        (("default", "--output", "plot.bmp"), ".png or .svg"),
        (("default", "--output", "nowhere/plot.png"), "cannot be written"),
    ):
        refused = in_process("temperament", "plot", *arguments)

        assert refused.exit_code == 1
        assert refused.stderr.startswith("error: ")
        assert reason in refused.stderr
        assert isinstance(refused.exception, SystemExit)
