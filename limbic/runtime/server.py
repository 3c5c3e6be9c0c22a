"""Starts a service, says when it is healthy, and lets it go down without dropping a call.

The order at the end: health says NOT_SERVING and streams without an end are ended, a moment for clients to turn away, no new calls,
calls in flight finish within the grace, then the service closes what it holds. SIGTERM has to be handled for that: without a handler
Python ends at once and runs no `finally`.
"""

from __future__ import annotations

import asyncio
import gc
import signal
from typing import Protocol

import grpc
from grpc_channelz.v1 import channelz
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

import limbic
from limbic.runtime.channels import ServerOptions
from limbic.runtime.drain import Drain
from limbic.runtime.health import HealthService
from limbic.runtime.interceptor import CallInterceptor, Gate
from limbic.runtime.logs import configure_logging, get_logger
from limbic.runtime.metrics import BUILD_INFO, serve_metrics
from limbic.runtime.settings import RuntimeSettings, ServerSettings

_log = get_logger(__name__)

_GC_THRESHOLDS = (20_000, 20, 20)


class Service(Protocol):
    """One gRPC service and what it holds."""

    @property
    def full_name(self) -> str:
        """The service's full name, e.g. `limbic.state.v1.StateEngineService`."""
        ...

    def register(self, server: grpc.aio.Server) -> None:
        """Add the handlers to a server that has not been started."""
        ...

    async def start(self) -> None:
        """Load what is needed to answer. Health says NOT_SERVING until this returns."""
        ...

    def drain(self) -> None:
        """Learn that the server is going down: end the streams that never end by themselves (limbic.runtime.drain). Called once.

        Other calls go on, and a few new ones may still come.
        """
        ...

    async def stop(self) -> None:
        """Close what `start` opened, also after a `start` that failed half-way. No call is in flight any more."""
        ...


class RunningServer:
    """A service behind a gRPC port.

    Args:
        service: what answers.
        settings: where it listens, and its deadlines.
        drain_s: at most this many seconds for the calls in flight.
        lame_duck_s: how long it still takes calls after health has said NOT_SERVING.
        expose_channelz: whether to serve channelz, which shows peers' addresses.
    """

    def __init__(
        self,
        service: Service,
        settings: ServerSettings,
        *,
        drain_s: float = 8.0,
        lame_duck_s: float = 0.2,
        expose_channelz: bool = False,
    ) -> None:
        self._service = service
        self._drain_s = drain_s
        self._lame_duck_s = lame_duck_s
        self._gate = Gate()
        interceptor = CallInterceptor(
            frozenset({service.full_name}),
            self._gate,
            default_deadline_s=settings.default_deadline_s,
            max_deadline_s=settings.max_deadline_s,
        )
        options = ServerOptions(max_message_bytes=settings.max_message_bytes)
        self._server = grpc.aio.server(interceptors=[interceptor], options=options.arguments())
        self._watches = Drain()
        self._health = HealthService(self._watches)
        service.register(self._server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        names = [service.full_name, health.SERVICE_NAME, reflection.SERVICE_NAME]
        if expose_channelz:
            channelz.add_channelz_servicer(self._server)  # type: ignore[arg-type]  # it takes both kinds of server
        reflection.enable_server_reflection(names, self._server)
        # Raises RuntimeError if the port is taken, since SO_REUSEPORT is off.
        self.port: int = self._server.add_insecure_port(settings.listen)

    async def start(self) -> None:
        """Listen, load, then say that we serve."""
        await self._set_health(health_pb2.HealthCheckResponse.NOT_SERVING)
        await self._server.start()
        await self._service.start()
        # What has been loaded stays for the life of the process: keep the collector from walking over it again and again.
        gc.collect()
        gc.freeze()
        # Reference counting frees what a call leaves behind; only cycles wait for the collector. At the default of 700 it runs every
        # few calls, which costs a busy state engine 5 to 8 per cent.
        gc.set_threshold(*_GC_THRESHOLDS)
        self._gate.open()
        await self._set_health(health_pb2.HealthCheckResponse.SERVING)

    async def stop(self) -> None:
        """Drain and close."""
        await self._health.enter_graceful_shutdown()
        self._service.drain()
        await asyncio.sleep(self._lame_duck_s)
        self._gate.drain()
        self._watches.begin()
        await self._server.stop(self._drain_s)
        await self._service.stop()

    async def _set_health(self, status: health_pb2.HealthCheckResponse.ServingStatus) -> None:
        for name in ("", self._service.full_name):
            await self._health.set(name, status)


async def _run(name: str, service: Service, runtime: RuntimeSettings, settings: ServerSettings) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    server = RunningServer(
        service, settings, drain_s=runtime.drain_s, lame_duck_s=runtime.lame_duck_s, expose_channelz=runtime.channelz
    )
    try:
        await server.start()
        if settings.metrics:
            serve_metrics(settings.metrics)
        _log.info("serving", listen=settings.listen, metrics=settings.metrics)
        await stop.wait()
        _log.info("draining")
    finally:
        await server.stop()
    _log.info("stopped", name=name)


def run_service(name: str, service: Service, runtime: RuntimeSettings, settings: ServerSettings) -> None:
    """Run a service until SIGTERM or SIGINT. The one entry point of every `__main__`.

    Raises:
        RuntimeError: the port is taken.
    """
    configure_logging(name, runtime.log_level, runtime.log_format)
    BUILD_INFO.info({"version": limbic.__version__, "service": name})
    asyncio.run(_run(name, service, runtime, settings))
