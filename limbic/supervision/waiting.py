"""Waits until all processes are healthy, and says on the way how far they are."""

from __future__ import annotations

import time
from collections.abc import Callable

from limbic.supervision.health import SERVING, health_of, ready_over_http
from limbic.supervision.processes import PROCESSES
from limbic.supervision.supervisor import SupervisionError, Supervisor

START_TIMEOUT_S = 180.0
"""A large model on a slow disk needs minutes; ours need seconds."""

_POLL_S = 0.1
_REPORT_S = 10.0
_ANSWER_S = 1.0
_TAIL_LINES = 12
_GIVEN_UP = ("FATAL", "STOPPED", "EXITED", "UNKNOWN")
_STARTS = 3
"""A process that ended this often while we waited will not come up by itself; supervisord goes on trying for longer."""


def wait_until_healthy(supervisor: Supervisor, say: Callable[[str], None]) -> None:
    """Return when every service says SERVING and the gateway is ready over HTTP.

    Raises:
        SupervisionError: a process was given up, or the time is over. The text holds the end of its log.
    """
    settings = supervisor.settings
    started = reported = time.monotonic()
    waiting = list(PROCESSES)
    pids: dict[str, set[int]] = {process.name: set() for process in PROCESSES}
    gateway_ready, answer = False, ""
    while waiting or not gateway_ready:
        now = time.monotonic()
        for process in list(waiting):
            if health_of(process.local(settings), process.service, _ANSWER_S) == SERVING:
                waiting.remove(process)
                say(f"  {process.name:<13} serves after {time.monotonic() - started:.1f} s")
        if not waiting:
            gateway_ready, answer = ready_over_http(settings, _ANSWER_S)
        _give_up_if_hopeless(supervisor, [process.name for process in waiting], pids)
        names = ", ".join(process.name for process in waiting) or f"the gateway's /readyz ({answer})"
        if now - started > START_TIMEOUT_S:
            tails = "".join(_tail(supervisor, process.name) for process in waiting)
            raise SupervisionError(f"not healthy after {START_TIMEOUT_S:.0f} s: {names}{tails}")
        if now - reported > _REPORT_S:
            reported = now
            say(f"  still waiting for {names}")
        if waiting or not gateway_ready:
            time.sleep(_POLL_S)


def _give_up_if_hopeless(supervisor: Supervisor, names: list[str], pids: dict[str, set[int]]) -> None:
    for info in supervisor.processes():
        if info.name not in names:
            continue
        if info.pid:
            pids[info.name].add(info.pid)
        ended = info.state in _GIVEN_UP or (info.state == "BACKOFF" and len(pids[info.name]) >= _STARTS)
        if ended:
            raise SupervisionError(
                f"{info.name} does not stay up ({info.state}: {info.description}){_tail(supervisor, info.name)}"
            )


def _tail(supervisor: Supervisor, name: str) -> str:
    log = supervisor.log_of(name)
    lines = log.read_text("utf-8", "replace").splitlines()[-_TAIL_LINES:] if log.is_file() else []
    return f"\nThe end of {log}:\n" + "\n".join(f"  | {line[:300]}" for line in lines)
