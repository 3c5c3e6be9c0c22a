"""Runs a long command, keeps its output in a file and shows on one line that it goes on. Standard library only."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

REDRAW_S = 1.0
"""On a terminal the line is written again this often."""
REPORT_S = 15.0
"""Elsewhere (a pipe, a CI log) a new line is written this often."""
TAIL_LINES = 25
"""How much of the log a failure shows."""


class StepError(Exception):
    """A step failed. The text says which, and what to do."""


def run_logged(
    what: str,
    command: Sequence[str],
    log: Path,
    *,
    describe: Callable[[str], str | None],
    environment: Mapping[str, str] | None = None,
) -> None:
    """Run a command to its end with its output in `log`, and show what `describe` makes of its latest lines.

    Args:
        what: what is being done, a few words to print first.
        command: the program and its arguments.
        log: where its output goes; an earlier log is replaced.
        describe: turns a line of output into a few words, or None if the line says nothing new.
        environment: the command's environment; by default ours.

    Raises:
        StepError: the command ended with another status than 0. The end of the log is printed first.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    latest = [""]
    print(f"{what} …", flush=True)
    with log.open("wb") as file:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=dict(os.environ if environment is None else environment),
            # A group of its own, so that whatever it has started can be ended with it.
            start_new_session=True,
        )
        assert process.stdout is not None
        lines = process.stdout

        def pump() -> None:
            for line in lines:
                file.write(line)
                file.flush()
                if (said := describe(line.decode("utf-8", "replace").rstrip())) is not None:
                    latest[0] = said

        reader = threading.Thread(target=pump, daemon=True)
        reader.start()
        try:
            _show_until_done(process, latest)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGTERM)
                process.wait()
            reader.join()
            lines.close()
    if process.returncode != 0:
        tail = log.read_text("utf-8", "replace").splitlines()[-TAIL_LINES:]
        print("\n".join(f"  | {line[:200]}" for line in tail), file=sys.stderr)
        raise StepError(f"{what} failed with status {process.returncode}; everything it said stands in {log}")


def _show_until_done(process: subprocess.Popen[bytes], latest: list[str]) -> None:
    terminal = sys.stdout.isatty()
    started = reported = time.monotonic()
    while True:
        try:
            process.wait(timeout=REDRAW_S)
        except subprocess.TimeoutExpired:
            now = time.monotonic()
            text = f"  {latest[0] or 'working'}, {elapsed(now - started)}"
            if terminal:
                # A line that wraps could not be written over.
                print(f"\r\033[2K{text[: shutil.get_terminal_size().columns - 1]}", end="", flush=True)
            elif now - reported >= REPORT_S:
                reported = now
                print(text, flush=True)
        else:
            break
    outcome = "done" if process.returncode == 0 else "failed"
    text = f"  {outcome} after {elapsed(time.monotonic() - started)}"
    print(f"\r\033[2K{text}" if terminal else text, flush=True)


def elapsed(seconds: float) -> str:
    """Write a duration as people say it."""
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
