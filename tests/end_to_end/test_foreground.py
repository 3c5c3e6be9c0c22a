"""`python -m limbic.supervision run`, as a container runs it, and the watcher beside supervisord."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from limbic.supervision import procfs
from limbic.supervision.supervisor import ROOT
from tests.end_to_end.stack import Stack, eventually, running_stack


@contextmanager
def foreground(stack: Stack, output: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run it with a pipe for its output, as a container does: whoever opens `/dev/fd/1` of a file again begins at the file's start."""
    command = [sys.executable, "-m", "limbic.supervision", "run"]
    with (
        output.open("wb") as file,
        subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=file) as copy,
        subprocess.Popen(command, cwd=ROOT, env=stack.environment, stdout=copy.stdin, stderr=copy.stdin) as process,
    ):
        try:
            yield process
        finally:
            # The block waits for its end, also after a test that failed.
            process.terminate()
            process.wait()


def supervised(stack: Stack, name: str, process: str) -> float:
    address = stack.settings.runtime.supervision_metrics
    text = httpx.get(f"http://{address}/metrics", trust_env=False).text
    lines = [line for line in text.splitlines() if line.startswith(name + "{") and f'process="{process}"' in line]
    return sum(float(line.rpartition(" ")[2]) for line in lines)


async def until(what: str, check: Callable[[], bool]) -> None:
    async def probe() -> bool:
        return check()

    await eventually(what, probe)


def healthy(stack: Stack, *names: str) -> subprocess.CompletedProcess[str]:
    return stack.python("-m", "limbic.supervision", "healthy", *names)


async def test_all_four_run_in_the_foreground_until_they_are_told_to_end(tmp_path: Path) -> None:
    output = tmp_path / "output"
    with running_stack(start=False) as stack:
        with foreground(stack, output) as process:
            await until("all four to serve", lambda: healthy(stack).returncode == 0)
            assert healthy(stack, "nobody").returncode == 1

            stack.kill("affect-head")
            await until(
                "the exit's count", lambda: supervised(stack, "limbic_supervised_exits_total", "affect-head") == 1
            )
            await until("the head to be back", lambda: healthy(stack, "affect-head").returncode == 0)
            assert supervised(stack, "limbic_supervised_starts_total", "affect-head") == 2
            assert supervised(stack, "limbic_supervised_exits_total", "gateway") == 0

            process.send_signal(signal.SIGTERM)
            assert process.wait(timeout=60) == 0
        assert procfs.members(stack.supervisor.data_dir) == []
        said = output.read_text("utf-8")
        for name in ("state-engine", "affect-head", "living-llm", "gateway"):
            assert f'"service": "{name}"' in said


def test_it_ends_visibly_when_a_process_does_not_stay_up(tmp_path: Path) -> None:
    missing = tmp_path / "no-such-head.gguf"
    changes: dict[str, dict[str, object]] = {"runtime": {"start_retries": 1}, "affect": {"model": str(missing)}}
    output = tmp_path / "output"
    with running_stack(changes, start=False) as stack:
        with foreground(stack, output) as process:
            assert process.wait(timeout=120) == 1
        assert procfs.members(stack.supervisor.data_dir) == []
        said = output.read_text("utf-8")

    assert '"given up"' in said
    assert "no-such-head.gguf" in said
    assert said.rstrip().endswith("its last lines above say which and why")


@pytest.mark.parametrize("arguments", [["healthy", "gateway", "nobody"], ["healthy", "x"]])
def test_an_unknown_process_is_refused_with_the_known_ones(arguments: list[str]) -> None:
    with running_stack(start=False) as stack:
        refused = stack.python("-m", "limbic.supervision", *arguments)

    assert refused.returncode == 1
    assert "state-engine, affect-head, living-llm, gateway" in refused.stderr
