"""The gateway over HTTP: is it alive, is it ready, what does it measure, what has it seen."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from google.protobuf.json_format import MessageToDict
from prometheus_client import REGISTRY
from prometheus_client.exposition import choose_encoder
from starlette.exceptions import HTTPException

from gateway.backends import AFFECT_HEAD, LIVING_LLM, STATE_ENGINE, BackendState
from limbic.gateway.v1 import gateway_pb2
from limbic.runtime.drain import Drain
from limbic.runtime.logs import get_logger

_log = get_logger(__name__)

_WITHOUT_IT = {
    STATE_ENGINE: "turns answer from the last known state, and what they learn waits on disk",
    AFFECT_HEAD: "turns are answered without being felt",
}
"""What a missing part means where the gateway is ready without it."""


def create_app(
    backends: Callable[[], dict[str, BackendState]], snapshot: Callable[[], gateway_pb2.TelemetrySnapshot], drain: Drain
) -> FastAPI:
    """Build the application.

    Args:
        backends: the backends as last seen.
        snapshot: the telemetry as it is now.
        drain: whether the process is going down.
    """
    app = FastAPI(title="Limbic gateway", docs_url=None, redoc_url=None)

    @app.get("/healthz")
    async def healthz() -> dict[str, str]:
        """Say that the process runs. Depends on nothing else: a restart mends only the process itself."""
        return {"status": "alive"}

    @app.get("/readyz")
    async def readyz() -> JSONResponse:
        """Say whether a turn can be answered, which takes the language model, and which other parts are missing.

        Not ready from SIGTERM on, while the turns in flight still finish: whoever sends turns here should send the next one elsewhere.
        """
        states = backends()
        parts = {name: _word(state) for name, state in states.items()}
        missing = [LIVING_LLM] if not states[LIVING_LLM].serving else []
        degraded = {name: meaning for name, meaning in _WITHOUT_IT.items() if not states[name].serving}
        ready = not missing and not drain.begun
        body = {"ready": ready, "draining": drain.begun, "missing": missing, "degraded": degraded, "parts": parts}
        return JSONResponse(body, status_code=200 if ready else 503)

    @app.get("/metrics")
    def metrics(request: Request) -> Response:
        """Return the metrics in the format that the client prefers; exemplars are in OpenMetrics only."""
        encode, content_type = choose_encoder(request.headers.get("accept", ""))
        return Response(encode(REGISTRY), headers={"content-type": content_type})

    @app.get("/telemetry/snapshot")
    async def telemetry_snapshot() -> dict[str, Any]:
        """Return what the gateway has seen lately, as the contract's TelemetrySnapshot with its field names."""
        fields: dict[str, Any] = MessageToDict(
            snapshot(), preserving_proto_field_name=True, always_print_fields_with_no_presence=True
        )
        return fields

    @app.exception_handler(HTTPException)
    async def refused(_: Request, error: HTTPException) -> JSONResponse:
        return _error(error.status_code, str(error.detail))

    @app.exception_handler(Exception)
    async def failed(request: Request, error: Exception) -> JSONResponse:
        _log.error("internal error", path=request.url.path, exc_info=error)
        return _error(500, "internal error; the service's log says what happened")

    return app


class HttpServer:
    """Serves an application in the running event loop.

    Args:
        app: what answers.
        address: HOST:PORT, or unix:PATH.
        drain_s: at most this many seconds for the requests in flight when it stops.
    """

    def __init__(self, app: FastAPI, address: str, drain_s: float) -> None:
        config = uvicorn.Config(
            app,
            log_config=None,
            log_level="warning",
            access_log=False,
            server_header=False,
            lifespan="off",
            timeout_graceful_shutdown=max(1, round(drain_s)),
        )
        self._server = _Server(config)
        self._address = address
        self._task: asyncio.Task[None] | None = None
        self.port = 0

    async def start(self) -> None:
        """Listen.

        Raises:
            OSError: the address is taken.
        """
        listener = _listen(self._address)
        if listener.family == socket.AF_INET or listener.family == socket.AF_INET6:
            self.port = listener.getsockname()[1]
        # The socket listens already, so whoever connects from now on is served.
        self._task = asyncio.create_task(self._server.serve(sockets=[listener]), name="http")

    async def stop(self) -> None:
        """Let the requests in flight finish, and close."""
        if self._task is not None:
            self._server.should_exit = True
            await self._task


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals alone: they belong to the process, which drains gRPC and HTTP together."""
        yield


def _listen(address: str) -> socket.socket:
    if address.startswith("unix:"):
        path = Path(address.removeprefix("unix:"))
        path.unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.bind(str(path))
        path.chmod(0o600)
        listener.listen(128)
        return listener
    host, _, port = address.rpartition(":")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host.strip("[]"), int(port)), family=family, backlog=128)


def _word(state: BackendState) -> str:
    return "unknown" if state.serving is None else "serving" if state.serving else "not serving"


def _error(status: int, message: str) -> JSONResponse:
    return JSONResponse({"error": {"code": status, "message": message}}, status_code=status)
