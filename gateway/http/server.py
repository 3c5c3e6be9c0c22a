"""An HTTP server inside the gateway's own event loop."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import uvicorn
from fastapi import FastAPI


class HttpServer:
    """Serves an application in the running event loop.

    Args:
        app: what answers.
        address: HOST:PORT, or unix:PATH.
        drain_s: at most this many seconds for the requests in flight when it stops.
        context: with it, what is no Unix socket speaks TLS.
    """

    def __init__(self, app: FastAPI, address: str, drain_s: float, context: ssl.SSLContext | None = None) -> None:
        config = uvicorn.Config(
            app,
            log_config=None,
            log_level="warning",
            access_log=False,
            server_header=False,
            lifespan="off",
            timeout_graceful_shutdown=max(1, round(drain_s)),
            ssl_context_factory=(lambda config, usual: context)
            if context is not None and not _is_socket(address)
            else None,
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


def _is_socket(address: str) -> bool:
    return address.startswith("unix:")


def _listen(address: str) -> socket.socket:
    if _is_socket(address):
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
