"""TLS between services, with real certificates: who comes in, who does not, and what the log says."""

from __future__ import annotations

import shutil
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import httpx
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from limbic.runtime.channels import open_channel
from limbic.runtime.metrics import serve_metrics
from limbic.runtime.server import RunningServer
from limbic.runtime.settings import RuntimeSettings, SettingsError, load_settings
from limbic.runtime.tls import (
    CertificateError,
    Certificates,
    SecretFileError,
    channel_credentials,
    client_context,
    read_secret,
    refuse_public,
    server_credentials,
)
from tests.authority import Authority, Issued
from tests.runtime.conftest import loopback
from tests.runtime.scripted_service import ScriptedService


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tls")


@pytest.fixture(scope="module")
def authority(folder: Path) -> Authority:
    return Authority(folder)


@pytest.fixture(scope="module")
def stranger(folder: Path) -> Authority:
    return Authority(folder, "stranger")


@pytest.fixture(scope="module")
def ours(authority: Authority) -> Certificates:
    return files(authority, authority.issue("ours"))


def files(authority: Authority, issued: Issued) -> Certificates:
    return Certificates(issued.cert, issued.key, authority.ca)


@asynccontextmanager
async def served(certificates: Certificates, local: str | None = None) -> AsyncIterator[int]:
    credentials = server_credentials(certificates)
    server = RunningServer(
        ScriptedService(), loopback(), lame_duck_s=0, drain_s=0.2, credentials=credentials, local=local
    )
    await server.start()
    yield server.port
    await server.stop()


async def health(target: str, credentials: grpc.ChannelCredentials | None) -> str:
    """Return SERVING, or why there is no answer."""
    async with open_channel(target, credentials=credentials) as channel:
        stub: health_pb2_grpc.HealthAsyncStub = health_pb2_grpc.HealthStub(channel)
        try:
            answer = await stub.Check(health_pb2.HealthCheckRequest(), timeout=20.0)
        except grpc.aio.AioRpcError as error:
            return f"{error.code().name}: {error.details()}"
    return str(health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status))


async def test_who_has_a_certificate_of_the_same_authority_comes_in(authority: Authority, ours: Certificates) -> None:
    other = files(authority, authority.issue("other"))
    async with served(ours) as port:
        assert await health(f"localhost:{port}", channel_credentials(other)) == "SERVING"
        assert await health(f"127.0.0.1:{port}", channel_credentials(other)) == "SERVING"


async def test_nobody_else_comes_in_and_the_log_says_why(
    authority: Authority, stranger: Authority, ours: Certificates, capfd: pytest.CaptureFixture[str]
) -> None:
    foreign, over = stranger.issue("foreign"), authority.issue("over", days=-1)
    ca = authority.ca.read_bytes()
    callers = {
        "WRONG_VERSION_NUMBER": None,
        "PEER_DID_NOT_RETURN_A_CERTIFICATE": grpc.ssl_channel_credentials(ca),
        "unable to get local issuer certificate": grpc.ssl_channel_credentials(
            ca, foreign.key.read_bytes(), foreign.cert.read_bytes()
        ),
        "certificate has expired": grpc.ssl_channel_credentials(ca, over.key.read_bytes(), over.cert.read_bytes()),
    }
    async with served(ours) as port:
        for reason, credentials in callers.items():
            capfd.readouterr()
            assert await health(f"127.0.0.1:{port}", credentials) != "SERVING"
            assert reason in capfd.readouterr().err


async def test_a_client_refuses_a_server_that_it_cannot_know(
    authority: Authority, stranger: Authority, ours: Certificates
) -> None:
    foreign = files(stranger, stranger.issue("foreign-server"))
    over = files(authority, authority.issue("over-server", days=-1))
    elsewhere = files(authority, authority.issue("elsewhere", names=("DNS:elsewhere.example",)))
    credentials = channel_credentials(ours)
    async with served(foreign) as port:
        assert "unable to get local issuer certificate" in await health(f"127.0.0.1:{port}", credentials)
    async with served(over) as port:
        assert "certificate has expired" in await health(f"127.0.0.1:{port}", credentials)
    async with served(elsewhere) as port:
        assert "elsewhere" not in await health(f"127.0.0.1:{port}", credentials)
        assert await health(f"127.0.0.1:{port}", credentials) != "SERVING"


async def test_a_renewed_certificate_is_shown_without_a_restart(authority: Authority, tmp_path: Path) -> None:
    over = authority.issue("before", days=-1)
    shown = Certificates(tmp_path / "cert.pem", tmp_path / "key.pem", authority.ca)
    copy(over, shown)
    ask = channel_credentials(files(authority, authority.issue("asks")))
    async with served(shown) as port:
        assert "certificate has expired" in await health(f"127.0.0.1:{port}", ask)
        copy(authority.issue("after"), shown)
        assert await health(f"127.0.0.1:{port}", ask) == "SERVING"


async def test_half_a_renewal_leaves_the_old_certificate(authority: Authority, tmp_path: Path) -> None:
    shown = Certificates(tmp_path / "cert.pem", tmp_path / "key.pem", authority.ca)
    copy(authority.issue("first"), shown)
    ask = channel_credentials(files(authority, authority.issue("asks-again")))
    async with served(shown) as port:
        # Another certificate beside the old one's key, as in the middle of a renewal.
        shutil.copy(authority.issue("second").cert, shown.cert)
        assert await health(f"127.0.0.1:{port}", ask) == "SERVING"


async def test_a_local_socket_needs_no_certificate(ours: Certificates, short_directory: Path) -> None:
    socket = f"unix:{short_directory}/service.sock"
    async with served(ours, local=socket):
        assert await health(socket, None) == "SERVING"


async def test_metrics_need_a_certificate_too(authority: Authority, stranger: Authority, ours: Certificates) -> None:
    foreign = stranger.issue("scraper")
    port = serve_metrics("127.0.0.1:0", ours)
    bare = ssl.create_default_context(cafile=str(authority.ca))
    wrong = ssl.create_default_context(cafile=str(authority.ca))
    wrong.load_cert_chain(foreign.cert, foreign.key)

    async with httpx.AsyncClient(verify=client_context(ours), trust_env=False) as http:
        assert "limbic_rpc_server_in_flight" in (await http.get(f"https://127.0.0.1:{port}/metrics")).text
    for context in (bare, wrong):
        async with httpx.AsyncClient(verify=context, trust_env=False) as http:
            with pytest.raises((httpx.TransportError, ssl.SSLError)):
                await http.get(f"https://127.0.0.1:{port}/metrics")


def test_files_that_cannot_be_used_are_named(authority: Authority, tmp_path: Path) -> None:
    one, other = authority.issue("one"), authority.issue("two")
    (tmp_path / "empty.pem").touch(mode=0o600)
    open_key = tmp_path / "open.key"
    shutil.copy(one.key, open_key)
    open_key.chmod(0o644)

    with pytest.raises(CertificateError, match=r"one\.crt.*key values mismatch"):
        Certificates(one.cert, other.key).check()
    with pytest.raises(CertificateError, match=r"empty\.pem"):
        Certificates(tmp_path / "empty.pem", one.key).check()
    with pytest.raises(CertificateError, match=r"empty\.pem"):
        Certificates(one.cert, one.key, tmp_path / "empty.pem").check()
    with pytest.raises(SecretFileError, match=r"nowhere\.key cannot be read"):
        Certificates(one.cert, tmp_path / "nowhere.key").check()
    with pytest.raises(SecretFileError, match=r"open\.key has mode 0644.*chmod 600"):
        Certificates(one.cert, open_key).check()


@pytest.mark.parametrize(
    ("mode", "allowed"),
    [(0o600, True), (0o400, True), (0o440, True), (0o640, True), (0o660, False), (0o604, False), (0o644, False)],
)
def test_a_group_may_read_a_secret_and_others_may_not(tmp_path: Path, mode: int, allowed: bool) -> None:
    secret = tmp_path / "secret"
    secret.write_text("s3cret\n", "utf-8")
    secret.chmod(mode)

    if allowed:
        refuse_public(secret)
        assert read_secret(secret) == "s3cret"
    else:
        with pytest.raises(SecretFileError) as refused:
            refuse_public(secret)
        assert "s3cret" not in str(refused.value)


def test_half_a_pair_of_settings_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIMBIC_RUNTIME__TLS_CA", "ca.pem")
    with pytest.raises(SettingsError, match="belong together"):
        load_settings()
    monkeypatch.delenv("LIMBIC_RUNTIME__TLS_CA")
    monkeypatch.setenv("LIMBIC_GATEWAY__TLS_CERT", "cert.pem")
    with pytest.raises(SettingsError, match="belong together"):
        load_settings()
    assert RuntimeSettings().tls_ca is None


def copy(issued: Issued, to: Certificates) -> None:
    shutil.copy(issued.cert, to.cert)
    shutil.copy(issued.key, to.key)
    to.key.chmod(0o600)
