"""The four processes under supervisord, as `make up` starts them, on ports and in a folder of their own."""

from __future__ import annotations

import asyncio
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from limbic.runtime.settings import CONFIG_VARIABLE, Settings, load_settings
from limbic.supervision.processes import PROCESSES
from limbic.supervision.supervisor import ROOT, Supervisor

T = TypeVar("T")

UP_TIMEOUT_S = 240.0
POLL_S = 0.05


class Stack:
    """Real supervised processes. What they are told stands in one TOML file.

    Args:
        folder: holds their data, their logs and that file; short, for the sake of the Unix socket in it.
        changes: settings that differ from the defaults, by section.
    """

    def __init__(self, folder: Path, changes: dict[str, dict[str, Any]] | None = None) -> None:
        self.folder = folder
        self.overrides = _own_places(folder)
        self._config = folder / "limbic.toml"
        self.settings: Settings
        self.configure(changes or {})

    def configure(self, changes: dict[str, dict[str, Any]]) -> None:
        """Set more settings, before it is started: such as files in its own folder."""
        for section, values in changes.items():
            self.overrides[section].update(values)
        self.settings = load_settings(**self.overrides)
        self.supervisor = Supervisor(self.settings)
        self._config.write_text(_toml(self.overrides), "utf-8")

    @property
    def environment(self) -> dict[str, str]:
        """The environment in which every command of this stack runs."""
        return {**os.environ, CONFIG_VARIABLE: str(self._config)}

    def run(self, *command: str, timeout_s: float = 60.0, words: str = "") -> subprocess.CompletedProcess[str]:
        """Run a program with this stack's settings to its end, with `words` as its input."""
        return subprocess.run(
            command, cwd=ROOT, env=self.environment, input=words, capture_output=True, text=True, timeout=timeout_s
        )

    def python(self, *arguments: str, timeout_s: float = 60.0, words: str = "") -> subprocess.CompletedProcess[str]:
        """Run `python …` with this stack's settings to its end."""
        return self.run(sys.executable, *arguments, timeout_s=timeout_s, words=words)

    def up(self) -> str:
        """Start it and return what the command printed."""
        done = self.python("-m", "limbic.supervision", "up", timeout_s=UP_TIMEOUT_S)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def down(self) -> str:
        """End it and return what the command printed."""
        done = self.python("-m", "limbic.supervision", "down", timeout_s=UP_TIMEOUT_S)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def pid(self, name: str) -> int:
        """Return a process's pid, or 0 while it does not run."""
        return next(info.pid for info in self.supervisor.processes() if info.name == name)

    def kill(self, name: str) -> int:
        """Kill a process as a crash would, and return the pid that it had."""
        pid = self.pid(name)
        assert pid, f"{name} does not run"
        os.kill(pid, signal.SIGKILL)
        return pid

    @contextmanager
    def held(self, name: str) -> Iterator[Callable[[], None]]:
        """Stop a process as a hanging machine would; the block's function, or its end, lets it go on."""
        pid = self.pid(name)
        os.kill(pid, signal.SIGSTOP)

        def release() -> None:
            # It may have been killed in the meantime.
            if Path(f"/proc/{pid}").exists():
                os.kill(pid, signal.SIGCONT)

        try:
            yield release
        finally:
            release()


@contextmanager
def running_stack(changes: dict[str, dict[str, Any]] | None = None, *, start: bool = True) -> Iterator[Stack]:
    """Start a stack for the length of a block, and end it with certainty.

    A guardian waits for the end of a pipe that this process holds open, and then runs `down`: however the tests end, by an error, by
    Ctrl-C or by kill -9, the pipe closes.
    """
    folder = Path(tempfile.mkdtemp(prefix="limbic-"))
    stack = Stack(folder, changes)
    guardian = subprocess.Popen(
        ["/bin/sh", "-c", f'cat >/dev/null; exec "{sys.executable}" -m limbic.supervision down'],
        cwd=ROOT,
        env=stack.environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )
    assert guardian.stdin is not None
    try:
        if start:
            stack.up()
        yield stack
    finally:
        guardian.stdin.close()
        status = guardian.wait(UP_TIMEOUT_S)
    # Kept where something went wrong: the logs say what.
    shutil.rmtree(folder)
    assert status == 0


async def eventually(what: str, probe: Callable[[], Awaitable[T | None]], timeout_s: float = 30.0) -> T:
    """Ask until there is an answer that counts as true, and return it; fail after `timeout_s`. For what other processes do."""
    give_up = time.monotonic() + timeout_s
    while not (answer := await probe()):
        assert time.monotonic() < give_up, f"not within {timeout_s:.0f} s: {what}"
        await asyncio.sleep(POLL_S)
    return answer


def free_ports(count: int) -> list[int]:
    """Find ports outside the range from which the kernel gives ports to outgoing connections, so that nobody takes them meanwhile."""
    found: list[int] = []
    while len(found) < count:
        port = random.randint(15_000, 30_000)
        with socket.socket() as probe:
            if port not in found and probe.connect_ex(("127.0.0.1", port)) != 0:
                found.append(port)
    return found


def _own_places(folder: Path) -> dict[str, dict[str, Any]]:
    places = iter([f"127.0.0.1:{port}" for port in free_ports(9)])
    own: dict[str, dict[str, Any]] = {
        "runtime": {"data_dir": str(folder / "var"), "logs_dir": str(folder / "logs")},
        **{process.section: {"listen": next(places), "metrics": next(places)} for process in PROCESSES[:3]},
        "gateway": {"listen": next(places), "http": next(places)},
    }
    own["runtime"]["supervision_metrics"] = next(places)
    # The tests share the cores with what they test, and threads that wait for each other do badly on cores that are busy.
    own["llm"]["threads"] = 1
    own["state"]["journal_url"] = f"sqlite:///{folder / 'var' / 'journal.sqlite3'}"
    for section in ("state", "affect", "llm"):
        own["gateway"][f"{section}_target"] = own[section]["listen"]
    return own


def _toml(sections: dict[str, dict[str, Any]]) -> str:
    parts = []
    for section, values in sections.items():
        parts.append(f"[{section}]")
        parts.extend(f"{key} = {_toml_value(value)}" for key, value in values.items())
    return "\n".join(parts) + "\n"


def _toml_value(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {_toml_value(inner)}" for key, inner in value.items()) + "}"
    # Strings, numbers, booleans and lists of them are written alike in JSON and TOML.
    return json.dumps(value)
