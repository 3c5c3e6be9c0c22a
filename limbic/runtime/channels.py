"""Every gRPC channel and server argument that we set, in one place, each with its reason and a test of its effect.

gRPC ignores an argument whose name it does not know, without a word: that is why no other module writes one.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import grpc

from limbic.runtime.tracing import client_interceptors

ResponseT = TypeVar("ResponseT")

ChannelArgument = tuple[str, int | str]

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class ChannelOptions:
    """How a client's channel behaves. Times in milliseconds, sizes in bytes."""

    initial_reconnect_backoff_ms: int = 100
    """The library's default of one second, growing to two minutes, leaves a restarted service alone for many seconds."""
    max_reconnect_backoff_ms: int = 1_000
    connect_timeout_ms: int = 5_000
    """How long one attempt to connect may take. A port that nobody listens on refuses at once; a busy machine needs its time."""
    max_message_bytes: int = 4 * MIB
    keepalive_time_ms: int = 30_000
    """A silent generation sends no data; a ping tells a dead peer from a thinking one. Servers allow it from 10 s."""
    keepalive_timeout_ms: int = 10_000

    def arguments(self) -> list[ChannelArgument]:
        """Return the arguments under the library's names."""
        return [
            ("grpc.initial_reconnect_backoff_ms", self.initial_reconnect_backoff_ms),
            # In spite of its name: the timeout of an attempt to connect.
            ("grpc.min_reconnect_backoff_ms", self.connect_timeout_ms),
            ("grpc.max_reconnect_backoff_ms", self.max_reconnect_backoff_ms),
            ("grpc.max_receive_message_length", self.max_message_bytes),
            ("grpc.max_send_message_length", self.max_message_bytes),
            ("grpc.keepalive_time_ms", self.keepalive_time_ms),
            ("grpc.keepalive_timeout_ms", self.keepalive_timeout_ms),
            # An http_proxy of the environment would be used even for loopback.
            ("grpc.enable_http_proxy", 0),
            # Retries are made in one layer only, which is ours.
            ("grpc.enable_retries", 0),
        ]


@dataclass(frozen=True, slots=True)
class ServerOptions:
    """How a server behaves. Times in milliseconds, sizes in bytes."""

    max_message_bytes: int = 4 * MIB
    max_metadata_bytes: int = 16 * 1024
    min_ping_interval_ms: int = 10_000
    """Below our clients' keepalive time, so that a ping during a silent stream is not answered with GOAWAY."""

    def arguments(self) -> list[ChannelArgument]:
        """Return the arguments under the library's names."""
        return [
            ("grpc.max_receive_message_length", self.max_message_bytes),
            ("grpc.max_send_message_length", self.max_message_bytes),
            ("grpc.max_metadata_size", self.max_metadata_bytes),
            ("grpc.http2.min_ping_interval_without_data_ms", self.min_ping_interval_ms),
            # On by default, two servers share one port without an error, and a stale process answers half of the calls.
            ("grpc.so_reuseport", 0),
        ]


def open_channel(
    target: str, options: ChannelOptions | None = None, credentials: grpc.ChannelCredentials | None = None
) -> grpc.aio.Channel:
    """Open a channel to `HOST:PORT` or `unix:PATH`. It connects when it is first used and reconnects by itself.

    With credentials (limbic.runtime.tls) it speaks TLS, except to a Unix socket, which the rights of its file guard.
    """
    arguments = (options or ChannelOptions()).arguments()
    if credentials is None or target.startswith("unix:"):
        return grpc.aio.insecure_channel(target, options=arguments, interceptors=client_interceptors())
    return grpc.aio.secure_channel(target, credentials, options=arguments, interceptors=client_interceptors())


def open_sync_channel(target: str, credentials: grpc.ChannelCredentials | None = None) -> grpc.Channel:
    """Open the same for programs without an event loop."""
    arguments = ChannelOptions().arguments()
    if credentials is None or target.startswith("unix:"):
        return grpc.insecure_channel(target, options=arguments)
    return grpc.secure_channel(target, credentials, options=arguments)


@asynccontextmanager
async def streaming(call: grpc.aio.UnaryStreamCall[Any, ResponseT]) -> AsyncIterator[AsyncIterator[ResponseT]]:
    """Read a response stream and cancel the call at the end of the block, however it ends.

    Breaking off an `async for` over a call and dropping it does not cancel the stream at the server, which goes on computing.
    """
    try:
        yield aiter(call)
    finally:
        call.cancel()
