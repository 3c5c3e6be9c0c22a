"""What `make up`, `down`, `restart`, `status` and `logs` do, and what a container runs."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Sequence

from limbic.runtime.exposure import all_doors, refuse_open
from limbic.supervision import procfs
from limbic.supervision.health import SERVING, health_of
from limbic.supervision.ports import taken
from limbic.supervision.processes import PROCESSES, addresses, reachable
from limbic.supervision.supervisor import ProcessInfo, SupervisionError, Supervisor
from limbic.supervision.waiting import wait_until_healthy

Say = Callable[[str], None]

_DOWN_STATES = ("STOPPED", "EXITED", "FATAL", "UNKNOWN")


def up(supervisor: Supervisor, say: Say) -> None:
    """Start what does not run yet, wait until all of it is healthy and say what to do next.

    Raises:
        SettingsError: a process would listen where strangers could come in.
        SupervisionError: a port is taken, or a process does not become healthy.
    """
    if supervisor.is_running() and supervisor.started_with_other_settings():
        say("The settings have changed since the start; starting anew.")
        down(supervisor, say)
    if supervisor.is_running():
        say("Running already.")
        for info in supervisor.processes():
            if info.state in _DOWN_STATES:
                say(f"  {info.name} was {info.state}; starting it")
                supervisor.start_process(info.name)
    else:
        _end_leftovers(supervisor, say)
        _warn_of_open_doors(supervisor, say)
        _refuse_taken_ports(supervisor)
        say("Starting the four processes …")
        supervisor.start()
    wait_until_healthy(supervisor, say)
    say(next_steps(supervisor))


def down(supervisor: Supervisor, say: Say) -> None:
    """End everything that belongs to this data directory, in order, each process with its time to drain.

    Raises:
        SupervisionError: a process cannot be ended.
    """
    if supervisor.is_running():
        say("Stopping: gateway first, then what it needs …")
        for member in supervisor.shut_down():
            say(f"  {member.name} (pid {member.pid}) did not end in time and was killed")
    elif not procfs.members(supervisor.data_dir):
        say("Nothing is running.")
        return
    _end_leftovers(supervisor, say)
    if left := procfs.members(supervisor.data_dir):
        raise SupervisionError(f"cannot be ended: {', '.join(f'{m.name} (pid {m.pid})' for m in left)}")
    for address in taken(supervisor.settings):
        say(f"  {address.value} ({address.process}) is still taken, by a process that is none of ours")
    say("Stopped.")


def run(supervisor: Supervisor, say: Say) -> int:
    """Run everything in the foreground until SIGTERM or SIGINT, as a container does; return the exit status.

    It is 1 if supervisord ended by itself, which it does when a process of ours is given up: a container that limps is worse than one
    that dies and is replaced.

    Raises:
        SettingsError: a process would listen where strangers could come in.
        SupervisionError: a port is taken.
    """
    _warn_of_open_doors(supervisor, say)
    _refuse_taken_ports(supervisor)
    told = False
    supervisord = supervisor.start_attached()

    def end(*_: object) -> None:
        nonlocal told
        told = True
        supervisord.terminate()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)
    supervisord.wait()
    if not told:
        say("error: supervisord has ended because a process does not stay up; its last lines above say which and why")
    return 0 if told else 1


def healthy(supervisor: Supervisor, names: Sequence[str], say: Say) -> bool:
    """Say whether the named processes, or all, serve, by gRPC health checks. Needs no supervisord.

    Raises:
        SupervisionError: there is no such process.
    """
    known = {process.name: process for process in PROCESSES}
    if unknown := sorted(set(names) - set(known)):
        raise SupervisionError(f"there is no process {', '.join(unknown)}; there are {', '.join(known)}")
    serving = True
    for process in (known[name] for name in names or known):
        health = health_of(process.local(supervisor.settings), process.service, timeout_s=2.0)
        say(f"{process.name:<13} {health}")
        serving = serving and health == SERVING
    return serving


def status(supervisor: Supervisor, say: Say) -> bool:
    """Say how each process is; return whether all serve."""
    if not supervisor.is_running():
        say("Nothing is running; `make up` starts it.")
        return False
    serving = [_status_line(supervisor, info, say) for info in supervisor.processes()]
    return all(serving)


def follow_logs(supervisor: Supervisor) -> None:
    """Become `tail -F` over the logs of all processes.

    Raises:
        SupervisionError: there are none yet.
    """
    logs = [str(supervisor.log_of(p.name)) for p in PROCESSES if supervisor.log_of(p.name).exists()]
    if not logs:
        raise SupervisionError(f"there are no logs in {supervisor.logs_dir} yet; `make up` makes some")
    os.execvp("tail", ["tail", "-n", "20", "-F", *logs])


def next_steps(supervisor: Supervisor) -> str:
    """Return what a newcomer can do now."""
    gateway, http = reachable(supervisor.settings.gateway.listen), reachable(supervisor.settings.gateway.http)
    lines = [
        "",
        "Limbic is up.",
        "  talk to it         make chat",
        f"  over gRPC          .venv/bin/grpcurl -plaintext {gateway} list      (grpcurl comes with `make test`)",
        f"  over HTTP          http://{http}/readyz  /telemetry/snapshot  /metrics",
        "  is it well?        make doctor        make status        make logs",
        "  stop it            make down",
    ]
    if supervisor.settings.llm.upstream.is_embedded:
        lines += [
            "",
            "The voice is a very small one, there to be heard at once. To give it a real one, point at any server that speaks the",
            "OpenAI protocol and run `make up` again:",
            "  LIMBIC_LLM__UPSTREAM__URL=http://127.0.0.1:11434/v1 LIMBIC_LLM__UPSTREAM__MODEL=qwen3:4b make up",
            "or at a GGUF file of your own:",
            "  LIMBIC_LLM__MODEL=/path/to/model.gguf make up",
        ]
    return "\n".join(lines)


def _status_line(supervisor: Supervisor, info: ProcessInfo, say: Say) -> bool:
    process = next(p for p in PROCESSES if p.name == info.name)
    health = health_of(process.local(supervisor.settings), process.service, timeout_s=2.0)
    listens = ", ".join(a.value for a in addresses(supervisor.settings) if a.process == info.name)
    say(f"{info.name:<13} {info.state:<9} {health:<12} {listens:<32} {info.description}")
    return health == SERVING


def _end_leftovers(supervisor: Supervisor, say: Say) -> None:
    there = procfs.end(supervisor.data_dir, supervisor.stop_s)
    for member in there:
        say(f"  ended {member.name} (pid {member.pid}), which an earlier supervisord had left behind")


def _warn_of_open_doors(supervisor: Supervisor, say: Say) -> None:
    settings = supervisor.settings
    for warning in refuse_open(all_doors(settings), settings.runtime):
        say(f"warning: {warning}")


def _refuse_taken_ports(supervisor: Supervisor) -> None:
    if in_the_way := taken(supervisor.settings):
        lines = [f"  {a.value} ({a.process}); another one can be chosen with {a.setting}" for a in in_the_way]
        raise SupervisionError(
            "something else listens where a process of ours should:\n"
            + "\n".join(lines)
            + "\n`ss -ltnp` shows what it is. Another checkout of Limbic? Then `make down` there."
        )
