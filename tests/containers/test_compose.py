"""The compose file, brought up for real: `make test-containers`. Needs podman and podman-compose, or Docker with its compose plugin.

Uses the project's own ports on loopback, so nothing else of Limbic may run on this host. Not a part of `make test`: the image's build alone
takes minutes. COMPOSE chooses the command, e.g. COMPOSE="docker compose".
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import grpc
import httpx
import pytest

from limbic.gateway.v1 import gateway_pb2, gateway_pb2_grpc
from limbic.state.v1 import state_pb2
from limbic.supervision.supervisor import ROOT

pytestmark = pytest.mark.containers

COMPOSE = shlex.split(os.environ.get("COMPOSE", "podman-compose --in-pod false"))
ENGINE = "docker" if COMPOSE[0] == "docker" else "podman"
HTTP = "http://127.0.0.1:8080"


def run(*command: str, check: bool = True, **environment: str) -> str:
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, **environment}, capture_output=True, text=True, timeout=1_800
    )
    assert not check or done.returncode == 0, f"{' '.join(command)}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def inspect(container: str, template: str) -> str:
    return run(ENGINE, "inspect", "--format", template, container).strip()


def wait_until(what: str, check: Callable[[], bool], timeout_s: float = 120.0) -> None:
    give_up = time.monotonic() + timeout_s
    while not check():
        assert time.monotonic() < give_up, f"not within {timeout_s:.0f} s: {what}"
        time.sleep(0.2)


def ready() -> bool:
    try:
        return not httpx.get(f"{HTTP}/readyz", trust_env=False).json()["degraded"]
    except (httpx.HTTPError, KeyError, json.JSONDecodeError):
        return False


@contextmanager
def composed(profile: str, *services: str) -> Iterator[None]:
    """Bring services up and take them down again with their volumes."""
    try:
        run(*COMPOSE, "up", "-d", *services, COMPOSE_PROFILES=profile)
        wait_until(f"profile {profile} to be ready", ready)
        yield
    except BaseException:
        print(run(*COMPOSE, "logs", *services, check=False, COMPOSE_PROFILES=profile)[-8_000:])  # noqa: T201
        raise
    finally:
        run(*COMPOSE, "down", "-v", "-t", "60", COMPOSE_PROFILES=profile)


def turn(session_id: str, text: str) -> list[gateway_pb2.TurnResponse]:
    with grpc.insecure_channel("127.0.0.1:50051") as channel:
        stub = gateway_pb2_grpc.GatewayServiceStub(channel)
        return list(stub.Turn(gateway_pb2.TurnRequest(session_id=session_id, text=text), timeout=60))


def state_before(events: list[gateway_pb2.TurnResponse]) -> state_pb2.State:
    return next(event.state.state for event in events if event.HasField("state"))


@pytest.fixture(scope="module", autouse=True)
def image() -> None:
    assert shutil.which(COMPOSE[0]), f"{COMPOSE[0]} is not installed"
    run(*COMPOSE, "build", COMPOSE_PROFILES="single")


def test_one_container_answers_turns_and_keeps_what_it_learned() -> None:
    with composed("single", "limbic"):
        container = run(ENGINE, "ps", "--filter", "name=limbic", "--format", "{{.Names}}").split()[0]
        events = turn("containers", "You are wonderful, I missed you so much!")
        assert events[-1].HasField("done")
        assert not events[-1].done.trace.degraded
        first = state_before(events)

        # A health check by gRPC, over all four.
        run(ENGINE, "exec", container, "python", "-m", "limbic.supervision", "healthy")
        assert run(ENGINE, "exec", container, "id", "-u").strip() == "10001"
        refused = subprocess.run([ENGINE, "exec", container, "touch", "/app/x"], capture_output=True, text=True)
        assert "Read-only file system" in refused.stderr
        metrics = httpx.get(f"{HTTP}/metrics", trust_env=False).text
        assert 'limbic_turns_total{outcome="ok"} 1.0' in metrics

        run(*COMPOSE, "restart", "-t", "60", "limbic", COMPOSE_PROFILES="single")
        wait_until("the container to be ready again", ready)
        assert state_before(turn("containers", "Do you remember me?")).levels != first.levels


def test_a_container_dies_visibly_when_a_process_does_not_stay_up() -> None:
    name = "limbic-doomed"
    options = ["--name", name, "--read-only", "--tmpfs", "/tmp", "-e", "LIMBIC_AFFECT__MODEL=/nowhere.gguf"]
    options += ["-e", "LIMBIC_RUNTIME__START_RETRIES=1"]
    try:
        run(ENGINE, "run", "-d", *options, "limbic")
        wait_until("the container to end", lambda: inspect(name, "{{.State.Status}}") == "exited")
        assert inspect(name, "{{.State.ExitCode}}") == "1"
        assert "/nowhere.gguf" in run(ENGINE, "logs", name)
    finally:
        run(ENGINE, "rm", "-f", "-v", name)


def test_one_container_a_service_answers_and_lives_without_the_head() -> None:
    services = ("state-engine", "affect-head", "living-llm", "gateway")
    with composed("split", *services):
        assert not turn("split", "Good morning!")[-1].done.trace.degraded

        run(*COMPOSE, "stop", "-t", "30", "affect-head", COMPOSE_PROFILES="split")
        events = turn("split", "Are you still there?")
        assert any(event.HasField("delta") for event in events)
        statuses = {event.affect.status for event in events if event.HasField("affect")}
        assert statuses <= {gateway_pb2.AFFECT_STATUS_UNAVAILABLE, gateway_pb2.AFFECT_STATUS_PENDING}
        assert statuses
