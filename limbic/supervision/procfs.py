"""Finds the processes of one supervised tree by what stands in their environment: needs no pid file, so none can be stale. Linux only."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

MARK = "SUPERVISED_DATA_DIR"
"""Set for supervisord when it is started, and inherited by all that it starts."""

_POLL_S = 0.05


@dataclass(frozen=True, slots=True)
class Member:
    """A process of the tree.

    Attributes:
        pid: its process id.
        name: its name in supervisord.conf; `supervisord` for the supervisor itself.
    """

    pid: int
    name: str


def members(data_dir: Path) -> list[Member]:
    """Return the living processes that were started for this data directory, by ascending pid."""
    wanted = f"{MARK}={data_dir}".encode()
    found = []
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            environment = (folder / "environ").read_bytes().split(b"\0")
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            # It has ended, or belongs to someone else.
            continue
        if wanted in environment:
            variables = dict(entry.partition(b"=")[::2] for entry in environment)
            name = variables.get(b"SUPERVISOR_PROCESS_NAME", b"supervisord").decode()
            found.append(Member(int(folder.name), name))
    return sorted(found, key=lambda member: member.pid)


def wait_until_gone(data_dir: Path, timeout_s: float) -> list[Member]:
    """Wait until no process of the tree is left; return those that are after `timeout_s`."""
    give_up = time.monotonic() + timeout_s
    while (left := members(data_dir)) and time.monotonic() < give_up:
        time.sleep(_POLL_S)
    return left


def end(data_dir: Path, stop_s: float) -> list[Member]:
    """End the tree's processes by SIGTERM and, after `stop_s` seconds, by SIGKILL; return those that there were."""
    there = members(data_dir)
    for number in (signal.SIGTERM, signal.SIGKILL):
        for member in members(data_dir):
            try:
                os.kill(member.pid, number)
            except ProcessLookupError:
                continue
        if not wait_until_gone(data_dir, stop_s):
            break
    return there
