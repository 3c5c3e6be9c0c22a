"""The gateway behind TLS, and its backends behind certificates."""

from __future__ import annotations

import asyncio
import shutil
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest

from gateway.access.renewal import renewed_certificate
from gateway.service import GatewayService
from limbic.client import LimbicClient
from limbic.runtime.channels import open_channel
from limbic.runtime.server import RunningServer, Service
from limbic.runtime.settings import RuntimeSettings, ServerSettings
from limbic.runtime.tls import Certificates, server_credentials
from tests.authority import Authority, Issued
from tests.gateway.backend_servers import EngineServer, HeadServer, ModelServer
from tests.gateway.conftest import House


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def trusting(authority: Authority) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(authority.ca))


class Behind:
    """A gateway whose faces speak TLS."""

    def __init__(self, house: House, shown: Issued, runtime: RuntimeSettings, **changes: Any) -> None:
        settings = house.settings.model_copy(
            update={"listen": "127.0.0.1:0", "tls_cert": shown.cert, "tls_key": shown.key, **changes}
        )
        self.service = GatewayService(settings, runtime)
        credentials = server_credentials(Certificates(shown.cert, shown.key))
        self.server = RunningServer(
            self.service, settings, drain_s=0.5, lame_duck_s=0, credentials=credentials, guard=self.service.guard
        )

    def client(self, credentials: grpc.ChannelCredentials | None) -> LimbicClient:
        return LimbicClient(f"localhost:{self.server.port}", gateway_credentials=credentials)


@pytest.fixture
async def behind(parts: House, authority: Authority) -> AsyncIterator[Behind]:
    runtime = RuntimeSettings(data_dir=parts.directory / "var", logs_dir=parts.directory / "logs")
    behind = Behind(parts, authority.issue("gateway"), runtime)
    await behind.server.start()
    yield behind
    await behind.server.stop()


async def test_both_faces_speak_tls_and_need_no_certificate_of_the_user(behind: Behind, authority: Authority) -> None:
    credentials = grpc.ssl_channel_credentials(authority.ca.read_bytes())
    async with behind.client(credentials) as client, client.turn("Hello", session_id="ada") as turn:
        events = [event.WhichOneof("event") async for event in turn]
    base = f"https://localhost:{behind.service.http_port}"
    async with httpx.AsyncClient(base_url=base, verify=trusting(authority), trust_env=False) as http:
        alive = await http.get("/healthz")

    assert events[-1] == "done"
    assert alive.json() == {"status": "alive"}


async def test_whoever_speaks_in_clear_or_does_not_know_the_authority_gets_nothing(behind: Behind) -> None:
    for credentials in (None, grpc.ssl_channel_credentials()):
        async with open_channel(f"localhost:{behind.server.port}", credentials=credentials) as channel:
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await channel.unary_unary("/grpc.health.v1.Health/Check", bytes, bytes)(b"", timeout=20.0)
            assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
    async with httpx.AsyncClient(trust_env=False) as http:
        with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
            await http.get(f"https://localhost:{behind.service.http_port}/healthz")
        with pytest.raises(httpx.TransportError):
            await http.get(f"http://localhost:{behind.service.http_port}/healthz")


async def test_http_takes_up_a_renewed_certificate(authority: Authority, tmp_path: Path) -> None:
    first, second, third = (authority.issue(name) for name in ("first", "second", "third"))
    shown = Certificates(tmp_path / "cert.pem", tmp_path / "key.pem")
    looks, looked = asyncio.Semaphore(0), asyncio.Event()

    async def sleep(seconds: float) -> None:
        looked.set()
        await looks.acquire()

    async def look() -> None:
        looked.clear()
        looks.release()
        await looked.wait()

    def copy(issued: Issued) -> None:
        shutil.copy(issued.key, shown.key)
        shutil.copy(issued.cert, shown.cert)

    copy(first)
    context = shown.context()
    server = await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", 0, ssl=context)
    port = server.sockets[0].getsockname()[1]

    async def name() -> str:
        _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=trusting(authority))
        peer = writer.get_extra_info("peercert")
        writer.close()
        return str(dict(pair[0] for pair in peer["subject"])["commonName"])

    renewing = asyncio.create_task(renewed_certificate(shown, context, sleep))
    await looked.wait()
    assert await name() == "first"
    copy(second)
    await look()
    assert await name() == "second"
    # A key that does not fit is not taken up, and what comes after it is.
    shutil.copy(third.key, shown.key)
    await look()
    assert await name() == "second"
    copy(third)
    await look()
    assert await name() == "third"
    renewing.cancel()
    server.close()
    await server.wait_closed()


async def test_a_gateway_with_a_certificate_reaches_services_that_ask_for_one(
    parts: House, authority: Authority
) -> None:
    ours, gateways = authority.issue("services"), authority.issue("gateway")
    certificates = Certificates(ours.cert, ours.key, authority.ca)
    settings = ServerSettings(listen="127.0.0.1:1").model_copy(update={"listen": "127.0.0.1:0"})
    services: list[Service] = [EngineServer(parts.engine), HeadServer(parts.head), ModelServer(parts.model)]
    servers = [
        RunningServer(service, settings, lame_duck_s=0, drain_s=0.2, credentials=server_credentials(certificates))
        for service in services
    ]
    for server in servers:
        await server.start()
    targets = dict(
        zip(
            ("state_target", "affect_target", "llm_target"),
            (f"localhost:{server.port}" for server in servers),
            strict=True,
        )
    )
    certified = RuntimeSettings(
        data_dir=parts.directory / "var",
        logs_dir=parts.directory / "logs",
        tls_ca=authority.ca,
        tls_cert=gateways.cert,
        tls_key=gateways.key,
    )
    behind = Behind(parts, authority.issue("face"), certified, **targets)
    await behind.server.start()
    known = grpc.ssl_channel_credentials(authority.ca.read_bytes())
    async with behind.client(known) as client, client.turn("Hello", session_id="ada") as turn:
        events = [event async for event in turn]
    await behind.server.stop()
    for server in servers:
        await server.stop()

    assert not events[0].state.degraded
    assert events[-1].WhichOneof("event") == "done"
    assert set(parts.engine.tips) == {"ada"}
