from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import httpx
import pytest
from playwright.async_api import Browser

from gateway.service import GatewayService
from limbic.gateway.v1 import gateway_pb2, gateway_pb2_grpc
from limbic.runtime.channels import open_channel
from limbic.runtime.server import RunningServer
from limbic.runtime.settings import GatewaySettings, RuntimeSettings
from tests.gateway.backend_servers import Backend, EngineServer, HeadServer, ModelServer
from tests.gateway.browser import Chromium, Visit, browsing, visit
from tests.gateway.engine_model import EngineModel
from tests.gateway.fakes import FakeHead, FakeModel

if TYPE_CHECKING:
    from tests.gateway.page_parts import PageHouse


class House:
    """A gateway behind real gRPC and HTTP, with its three backends."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.engine, self.head, self.model = EngineModel(), FakeHead(), FakeModel()
        self.engine_backend = Backend(EngineServer(self.engine), f"{directory}/state")
        self.head_backend = Backend(HeadServer(self.head), f"{directory}/affect")
        self.model_backend = Backend(ModelServer(self.model), f"{directory}/llm")
        self.settings = GatewaySettings(
            listen=f"unix:{directory}/gateway",
            state_target=self.engine_backend.target,
            affect_target=self.head_backend.target,
            llm_target=self.model_backend.target,
            # Long enough for a busy machine; what is in time and what is late is decided by events.
            state_deadline_ms=5_000,
            affect_window_ms=5_000,
        ).model_copy(update={"http": "127.0.0.1:0"})
        self.drain_s = 0.5
        self.service: GatewayService | None = None
        self._server: RunningServer | None = None
        self._channel: grpc.aio.Channel | None = None

    @property
    def backends(self) -> tuple[Backend, ...]:
        return self.engine_backend, self.head_backend, self.model_backend

    async def start(self, **changes: Any) -> None:
        """Start the gateway; the backends are started by the fixture."""
        settings = self.settings.model_copy(update=changes)
        runtime = RuntimeSettings(data_dir=self.directory / "var", logs_dir=self.directory / "logs", drain_s=1.0)
        self.service = GatewayService(settings, runtime)
        self._server = RunningServer(
            self.service, settings, drain_s=self.drain_s, lame_duck_s=0, guard=self.service.guard
        )
        await self._server.start()
        self._channel = open_channel(settings.listen)

    async def stop(self) -> None:
        if self._channel is not None:
            await self._channel.close(None)
        await self.stop_server()

    async def stop_server(self) -> None:
        """Drain and stop the gateway, as SIGTERM does."""
        if self._server is not None:
            server, self._server = self._server, None
            await server.stop()

    @property
    def stub(self) -> Any:
        assert self._channel is not None
        return gateway_pb2_grpc.GatewayServiceStub(self._channel)

    @property
    def channel(self) -> grpc.aio.Channel:
        assert self._channel is not None
        return self._channel

    def turn(self, text: str = "I missed you", **fields: Any) -> Any:
        """Begin a turn and return its call."""
        fields.setdefault("session_id", "ada")
        return self.stub.Turn(gateway_pb2.TurnRequest(text=text, **fields), timeout=30.0)

    async def say(self, text: str = "I missed you", **fields: Any) -> list[gateway_pb2.TurnResponse]:
        """Run a turn to its end."""
        return [event async for event in self.turn(text, **fields)]

    async def snapshot(self) -> gateway_pb2.TelemetrySnapshot:
        response = await self.stub.GetTelemetrySnapshot(gateway_pb2.GetTelemetrySnapshotRequest())
        assert isinstance(response, gateway_pb2.GetTelemetrySnapshotResponse)
        return response.snapshot

    async def until_known(self, name: str, *, serving: bool) -> None:
        """Wait until the gateway has noticed whether a backend serves."""
        await self.until_seen(lambda seen: any(one.name == name and one.serving is serving for one in seen.backends))

    async def until_replayed(self) -> None:
        """Wait until no fact waits on disk."""
        await self.until_seen(lambda seen: seen.spooled_facts == 0)

    async def until_seen(self, condition: Callable[[gateway_pb2.TelemetrySnapshot], object]) -> None:
        """Wait until the telemetry is as expected."""
        async with asyncio.timeout(10.0):
            while not condition(await self.snapshot()):  # noqa: ASYNC110 - nothing signals it to this loop
                await asyncio.sleep(0.01)


@pytest.fixture
def short_directory() -> Iterator[Path]:
    """A directory whose path is short enough for Unix sockets."""
    directory = Path(tempfile.mkdtemp(prefix="limbic-"))
    yield directory
    shutil.rmtree(directory)


@pytest.fixture
async def parts(short_directory: Path) -> AsyncIterator[House]:
    """The backends, running; the gateway is started by the test."""
    house = House(short_directory)
    for backend in house.backends:
        await backend.start()
    yield house
    await house.stop()
    for backend in house.backends:
        await backend.stop()


@pytest.fixture
async def house(parts: House) -> House:
    """The gateway and its backends, running."""
    await parts.start()
    return parts


@pytest.fixture
async def http(house: House) -> AsyncIterator[httpx.AsyncClient]:
    assert house.service is not None
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{house.service.http_port}") as client:
        yield client


@pytest.fixture
async def page_parts(short_directory: Path) -> AsyncIterator[PageHouse]:
    """A real state engine and the other backends, running; the gateway is started by the test."""
    # It is made of this module's House.
    from tests.gateway.page_parts import PageHouse

    house = PageHouse(short_directory)
    for backend in house.backends:
        await backend.start()
    yield house
    await house.stop()
    for backend in house.backends:
        await backend.stop()


@pytest.fixture
async def page_house(page_parts: PageHouse) -> PageHouse:
    """The gateway and its backends, running, with a real state engine."""
    await page_parts.start()
    return page_parts


@pytest.fixture
async def api(page_house: PageHouse) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=page_house.url, timeout=30.0) as client:
        yield client


@pytest.fixture(scope="session")
def chromium() -> Iterator[Chromium]:
    chromium = Chromium()
    yield chromium
    chromium.close()


@pytest.fixture
async def browser(chromium: Chromium) -> AsyncIterator[Browser]:
    async with browsing(chromium) as browser:
        yield browser


@pytest.fixture
async def guest(browser: Browser, page_house: PageHouse) -> AsyncIterator[Visit]:
    """Somebody who has opened the page."""
    async with await visit(browser, page_house.url) as guest:
        await guest.open()
        yield guest
