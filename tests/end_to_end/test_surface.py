from __future__ import annotations

import json
import sysconfig
from pathlib import Path

import httpx
import pytest

from limbic.supervision.processes import PROCESSES, Process
from tests.end_to_end.calls import Calls
from tests.end_to_end.stack import Stack

GRPCURL = str(Path(sysconfig.get_path("scripts")) / "grpcurl")

each_process = pytest.mark.parametrize("process", PROCESSES, ids=lambda process: process.name)


@each_process
def test_grpcurl_lists_the_services(stack: Stack, process: Process) -> None:
    done = stack.run(GRPCURL, "-plaintext", process.settings(stack.settings).listen, "list")

    assert done.returncode == 0, done.stderr
    assert {process.service, "grpc.health.v1.Health"} <= set(done.stdout.split())


@each_process
@pytest.mark.parametrize("by_name", [True, False], ids=["by name", "the server"])
def test_grpcurl_asks_for_health(stack: Stack, process: Process, by_name: bool) -> None:
    request = json.dumps({"service": process.service if by_name else ""})
    address = process.settings(stack.settings).listen
    done = stack.run(GRPCURL, "-plaintext", "-d", request, address, "grpc.health.v1.Health/Check")

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"status": "SERVING"}


async def test_grpcurl_runs_a_turn(stack: Stack, calls: Calls) -> None:
    await calls.until_well()
    request = json.dumps({"session_id": "by-grpcurl", "text": "Hello! How was your day?"})
    address = stack.settings.gateway.listen
    done = stack.run(GRPCURL, "-plaintext", "-d", request, address, "limbic.gateway.v1.GatewayService/Turn")

    assert done.returncode == 0, done.stderr
    decoder, position, events = json.JSONDecoder(), 0, []
    while position < len(done.stdout.rstrip()):
        message, position = decoder.raw_decode(done.stdout, position)
        position += 1
        events += list(message)
    assert events[:2] == ["state", "affect"]
    assert set(events[2:-1]) == {"delta"}
    assert events[-1] == "done"


async def test_http_says_that_it_is_ready_and_shows_what_was_measured(stack: Stack, calls: Calls) -> None:
    await calls.until_well()
    base = f"http://{stack.settings.gateway.http}"
    async with httpx.AsyncClient(base_url=base, trust_env=False) as http:
        assert (await http.get("/healthz")).status_code == httpx.codes.OK
        assert (await http.get("/readyz")).status_code == httpx.codes.OK
        snapshot = (await http.get("/telemetry/snapshot")).json()
        metrics = (await http.get("/metrics")).text

    assert snapshot
    assert "limbic_turn_stage_seconds_bucket" in metrics


def test_what_people_said_is_in_no_log(stack: Stack) -> None:
    canary = "a canary named Peregrine Quillfeather"
    done = stack.python("-m", "limbic.cli", "chat", "--session", "canary", "--once", f"I am {canary}.")
    assert done.returncode == 0, done.stderr
    logs = list(stack.supervisor.logs_dir.iterdir())

    assert {f"{process.name}.log" for process in PROCESSES} <= {log.name for log in logs}
    assert not [log.name for log in logs if "Quillfeather" in log.read_text("utf-8", "replace")]


def test_what_is_kept_is_private(stack: Stack) -> None:
    private = [stack.supervisor.data_dir, stack.supervisor.logs_dir]
    private += [path for folder in private for path in folder.iterdir()]

    assert stack.supervisor.data_dir / "journal.sqlite3" in private
    assert not [str(path) for path in private if path.stat().st_mode & 0o077]
