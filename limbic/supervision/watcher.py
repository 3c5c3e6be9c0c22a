"""Counts for Prometheus what becomes of the processes: `python -m limbic.supervision.watcher`, an event listener of supervisord.

supervisord says on this process's standard input what happens to the others, one event after the other, and takes from its standard
output nothing but the protocol's own words (supervisord.org/events.html); so the log goes to standard error.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TextIO

from prometheus_client import Counter, Gauge
from supervisor import childutils

from limbic.runtime.exposure import refuse_open, watcher_doors
from limbic.runtime.logs import configure_logging, get_logger
from limbic.runtime.metrics import serve_metrics
from limbic.runtime.settings import SettingsError, load_settings
from limbic.runtime.tls import service_certificates
from limbic.supervision.processes import ON_FATAL, PROCESSES

STARTS = Counter("limbic_supervised_starts_total", "Starts of a process, tries included.", ["process"])
EXITS = Counter(
    "limbic_supervised_exits_total",
    "Ends of a process: `stopped` as it was told, `exited` by itself, `failed` before it had been up long enough.",
    ["process", "how"],
)
UP = Gauge("limbic_supervised_up", "1 for a process that is up: started, and long enough ago.", ["process"])
GIVEN_UP = Gauge("limbic_supervised_given_up", "1 for a process that is not started any more (FATAL).", ["process"])

_log = get_logger(__name__)

_ENDS = {"STOPPED": "stopped", "EXITED": "exited", "BACKOFF": "failed"}


@dataclass(frozen=True, slots=True)
class StateChange:
    """A process that came into another state.

    Attributes:
        process: its name in supervisord.conf.
        state: STARTING, RUNNING, BACKOFF, STOPPING, EXITED, STOPPED, FATAL or UNKNOWN.
    """

    process: str
    state: str


def state_changes(stdin: TextIO, stdout: TextIO) -> Iterator[StateChange]:
    """Yield what supervisord tells, until it closes the pipe. An event is acknowledged when the next one is asked for."""
    while True:
        childutils.listener.ready(stdout)
        header = stdin.readline()
        if not header:
            return
        headers = childutils.get_headers(header)
        payload = stdin.read(int(headers["len"]))
        if headers["eventname"].startswith("PROCESS_STATE_"):
            process = childutils.get_headers(payload.partition("\n")[0])["processname"]
            yield StateChange(process, headers["eventname"].removeprefix("PROCESS_STATE_"))
        childutils.listener.ok(stdout)


def count(change: StateChange) -> None:
    """Take a change into the metrics."""
    if change.state == "STARTING":
        STARTS.labels(change.process).inc()
    elif how := _ENDS.get(change.state):
        EXITS.labels(change.process, how).inc()
    UP.labels(change.process).set(change.state == "RUNNING")
    GIVEN_UP.labels(change.process).set(change.state == "FATAL")


def watch(changes: Iterator[StateChange], end: Callable[[], None] | None) -> None:
    """Count every change; call `end` when a process of ours is given up."""
    ours = {process.name for process in PROCESSES}
    for change in changes:
        if change.process not in ours:
            continue
        count(change)
        if change.state == "FATAL":
            _log.error("given up", process=change.process, ending_all=end is not None)
            if end is not None:
                end()


def main() -> None:
    """Watch until supervisord ends. Exits with status 1 if the metrics cannot be served."""
    try:
        runtime = load_settings().runtime
    except SettingsError as error:
        sys.exit(f"watcher: {error}")
    configure_logging("watcher", runtime.log_level, runtime.log_format, sys.stderr)
    # So that a process that has not moved yet is there with a zero, and not missing.
    for process in PROCESSES:
        count(StateChange(process.name, "UNKNOWN"))
    if runtime.supervision_metrics:
        try:
            for warning in refuse_open(watcher_doors(runtime), runtime):
                _log.warning("exposed", reason=warning)
            serve_metrics(runtime.supervision_metrics, service_certificates(runtime))
        except (SettingsError, OSError) as error:
            _log.error("cannot serve metrics", listen=runtime.supervision_metrics, reason=str(error))
            sys.exit(1)
    supervisord = os.getppid()
    end_all = os.environ.get(ON_FATAL) == "end"
    watch(state_changes(sys.stdin, sys.stdout), (lambda: os.kill(supervisord, signal.SIGTERM)) if end_all else None)


if __name__ == "__main__":
    main()
