"""Starts a service, says when it is healthy, and lets it go down without dropping a call.

The order at the end: health says NOT_SERVING and streams without an end are ended, a moment for clients to turn away, no new calls,
calls in flight finish within the grace, then the service closes what it holds. SIGTERM has to be handled for that: without a handler
Python ends at once and runs no `finally`.
"""

from __future__ import annotations

import asyncio
import gc
import os
import signal
from typing import Protocol

import grpc
from grpc_channelz.v1 import channelz
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

import limbic
from limbic.runtime.channels import ServerOptions
from limbic.runtime.drain import Drain
from limbic.runtime.exposure import doors, is_local, refuse_open, spoken_in_clear
from limbic.runtime.health import HealthService
from limbic.runtime.interceptor import CallInterceptor, Gate
from limbic.runtime.logs import configure_logging, get_logger
from limbic.runtime.metrics import BUILD_INFO, serve_metrics, watch_disk
from limbic.runtime.settings import RuntimeSettings, ServerSettings
from limbic.runtime.tls import face_certificates, local_socket, server_credentials, service_certificates
from limbic.runtime.tracing import configure_tracing, shut_down

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
        expose_contracts: whether to serve reflection.
        credentials: what it shows to clients and asks of them; None: it speaks in clear.
        local: another address, which speaks in clear: a Unix socket.
        guard: looks at every call before anything else does.
    """

    def __init__(
        self,
        service: Service,
        settings: ServerSettings,
        *,
        drain_s: float = 8.0,
        lame_duck_s: float = 0.2,
        expose_channelz: bool = False,
        expose_contracts: bool = True,
        credentials: grpc.ServerCredentials | None = None,
        local: str | None = None,
        guard: grpc.aio.ServerInterceptor | None = None,  # type: ignore[type-arg]  # generic in the stubs only
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
        interceptors = [interceptor] if guard is None else [guard, interceptor]
        self._server = grpc.aio.server(interceptors=interceptors, options=options.arguments())
        self._watches = Drain()
        self._health = HealthService(self._watches)
        service.register(self._server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        names = [service.full_name, health.SERVICE_NAME, reflection.SERVICE_NAME]
        if expose_channelz:
            channelz.add_channelz_servicer(self._server)  # type: ignore[arg-type]  # it takes both kinds of server
        if expose_contracts:
            reflection.enable_server_reflection(names, self._server)
        # Raises RuntimeError if the port is taken, since SO_REUSEPORT is off.
        if credentials is None or settings.listen.startswith("unix:"):
            self.port: int = self._server.add_insecure_port(settings.listen)
        else:
            self.port = self._server.add_secure_port(settings.listen, credentials)
        if local is not None:
            self._server.add_insecure_port(local)

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


async def _run(
    name: str,
    service: Service,
    runtime: RuntimeSettings,
    settings: ServerSettings,
    guard: grpc.aio.ServerInterceptor | None,  # type: ignore[type-arg]  # generic in the stubs only
) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    shown = face_certificates(runtime, settings)
    if shown is not None:
        runtime.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    server = RunningServer(
        service,
        settings,
        drain_s=runtime.drain_s,
        lame_duck_s=runtime.lame_duck_s,
        expose_channelz=runtime.channelz,
        expose_contracts=is_local(settings.listen) if runtime.reflection is None else runtime.reflection,
        credentials=server_credentials(shown) if shown is not None else None,
        local=local_socket(runtime.data_dir, name) if shown is not None else None,
        guard=guard,
    )
    try:
        await server.start()
        if settings.metrics:
            serve_metrics(settings.metrics, service_certificates(runtime))
        _log.info("serving", listen=settings.listen, metrics=settings.metrics, tls=shown is not None)
        await stop.wait()
        _log.info("draining")
    finally:
        await server.stop()
    _log.info("stopped", name=name)


def run_service(
    name: str,
    service: Service,
    runtime: RuntimeSettings,
    settings: ServerSettings,
    guard: grpc.aio.ServerInterceptor | None = None,  # type: ignore[type-arg]  # generic in the stubs only
) -> None:
    """Run a service until SIGTERM or SIGINT. The one entry point of every `__main__`.

    Args:
        name: the process's name in logs and metrics.
        service: what answers.
        runtime: what all processes share.
        settings: its own section.
        guard: looks at every call before anything else does.

    Raises:
        ExposureError: it would listen where strangers could come in.
        CertificateError, SecretFileError: the certificates cannot be used.
        RuntimeError: the port is taken.
    """
    # Whoever started us: journal, spool, feeds and sockets are this user's alone.
    os.umask(0o077)
    configure_logging(name, runtime.log_level, runtime.log_format)
    for warning in (*refuse_open(doors(runtime, settings), runtime), *spoken_in_clear(settings)):
        _log.warning("exposed", reason=warning)
    BUILD_INFO.info({"version": limbic.__version__, "service": name})
    watch_disk(runtime.data_dir)
    if runtime.otlp_endpoint:
        configure_tracing(name, runtime.otlp_endpoint, runtime.trace_sample_ratio)
    try:
        asyncio.run(_run(name, service, runtime, settings, guard))
    finally:
        shut_down()
