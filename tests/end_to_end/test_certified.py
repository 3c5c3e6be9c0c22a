"""The four processes with certificates between them, TLS and keys in front: what starts, checks and talks to them still does."""

from __future__ import annotations

import json
from collections.abc import Iterator

import grpc
import httpx
import pytest

from limbic.client import CallError, LimbicClient
from limbic.runtime.channels import open_channel
from limbic.runtime.keys import load_keys
from limbic.runtime.tls import Certificates, channel_credentials
from limbic.state.v1 import state_pb2, state_pb2_grpc
from limbic.supervision.processes import PROCESSES
from tests.authority import Authority
from tests.end_to_end.stack import Stack, running_stack


@pytest.fixture(scope="module")
def certified() -> Iterator[tuple[Stack, Certificates]]:
    """A stack with all of it, and a certificate of its authority."""
    with running_stack(start=False) as stack:
        authority = Authority(stack.folder)
        services, face, other = (authority.issue(name) for name in ("services", "face", "other"))
        key_file, keys_file = stack.folder / "key", stack.folder / "keys"
        made = stack.python("-m", "limbic.cli", "keys", "create", "op", "--operator", "--file", str(keys_file))
        key_file.write_text(made.stdout, "utf-8")
        key_file.chmod(0o600)
        paths = {
            "tls_ca": authority.ca,
            "tls_cert": services.cert,
            "tls_key": services.key,
            "gateway_key_file": key_file,
        }
        faces = {"keys_file": keys_file, "tls_cert": face.cert, "tls_key": face.key}
        stack.configure(
            {
                "runtime": {name: str(path) for name, path in paths.items()},
                "gateway": {name: str(path) for name, path in faces.items()},
            }
        )
        stack.up()
        yield stack, Certificates(other.cert, other.key, authority.ca)


def test_health_and_doctor_find_all_well(certified: tuple[Stack, Certificates]) -> None:
    stack, _ = certified
    healthy = stack.python("-m", "limbic.supervision", "healthy")
    doctor = stack.python("-m", "limbic.cli", "doctor", "--json", timeout_s=180.0)
    found = {check["name"]: check for check in json.loads(doctor.stdout)["checks"]}

    assert healthy.returncode == 0, healthy.stdout + healthy.stderr
    assert healthy.stdout.count("SERVING") == len(PROCESSES)
    for name in ("HTTP /readyz", *(f"{kind} {p.name}" for p in PROCESSES for kind in ("service", "metrics"))):
        assert found[name]["ok"], found[name]


def test_a_conversation_in_the_terminal(certified: tuple[Stack, Certificates]) -> None:
    stack, _ = certified
    said = stack.python("-m", "limbic.cli", "chat", "--session", "certified", "--once", "Hello!", timeout_s=120.0)
    explained = stack.python("-m", "limbic.cli", "explain", "certified")
    seen = stack.python("-m", "limbic.cli", "monitor", "--once", "--json")

    assert said.returncode == 0, said.stdout + said.stderr
    assert "degraded" not in said.stdout
    assert explained.returncode == 0, explained.stdout + explained.stderr
    assert seen.returncode == 0, seen.stdout + seen.stderr


async def test_a_client_with_a_key_comes_in_and_one_without_does_not(certified: tuple[Stack, Certificates]) -> None:
    stack, files = certified
    assert files.ca is not None
    assert stack.settings.runtime.gateway_key_file is not None
    assert stack.settings.gateway.keys_file is not None
    key = stack.settings.runtime.gateway_key_file.read_text("utf-8").strip()
    trusted = grpc.ssl_channel_credentials(files.ca.read_bytes())
    target = stack.settings.gateway.listen
    async with LimbicClient(target, key=key, gateway_credentials=trusted) as client, client.turn("Hello!") as turn:
        assert [event.WhichOneof("event") async for event in turn][-1] == "done"
    async with LimbicClient(target, gateway_credentials=trusted) as client, client.turn("Hello!") as turn:
        with pytest.raises(CallError) as refused:
            await anext(aiter(turn))
    assert refused.value.failure.reason == "KEY_REQUIRED"
    assert [one.name for one in load_keys(stack.settings.gateway.keys_file)] == ["op"]


async def test_services_and_metrics_are_for_holders_of_a_certificate(certified: tuple[Stack, Certificates]) -> None:
    stack, files = certified
    target = stack.settings.state.listen
    for credentials, code in (
        (channel_credentials(files), grpc.StatusCode.NOT_FOUND),
        (None, grpc.StatusCode.UNAVAILABLE),
    ):
        async with open_channel(target, credentials=credentials) as channel:
            stub: state_pb2_grpc.StateEngineServiceAsyncStub = state_pb2_grpc.StateEngineServiceStub(channel)
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await stub.GetState(state_pb2.GetStateRequest(session_id="nobody"), timeout=20.0)
            assert refused.value.code() is code
    for address in (stack.settings.state.metrics, stack.settings.runtime.supervision_metrics):
        async with httpx.AsyncClient(trust_env=False, verify=False) as http:
            with pytest.raises((httpx.TransportError, OSError)):
                await http.get(f"https://{address}/metrics")
            with pytest.raises(httpx.TransportError):
                await http.get(f"http://{address}/metrics")
    log = stack.supervisor.log_of("state-engine").read_text("utf-8")
    assert "Handshake failed" in log
