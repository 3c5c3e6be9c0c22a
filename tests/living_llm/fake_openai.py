"""A real HTTP server that speaks the OpenAI protocol, or on purpose does not: each request follows the next of its scripts."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import struct
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

Script = Callable[["Exchange"], Awaitable[None]]


class Exchange:
    """One request, and the means to answer it byte by byte."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self.method = ""
        self.path = ""
        self.headers: dict[str, str] = {}
        self.body: Any = None

    async def receive(self) -> bool:
        """Read the request; False if the connection ended instead."""
        line = await self._reader.readline()
        if not line:
            return False
        self.method, self.path, _ = line.decode().split(" ", 2)
        while (header := (await self._reader.readline()).decode().strip()) != "":
            name, _, value = header.partition(":")
            self.headers[name.lower()] = value.strip()
        if length := int(self.headers.get("content-length", "0")):
            self.body = json.loads(await self._reader.readexactly(length))
        return True

    async def head(self, status: int = 200, content_type: str = "text/event-stream", **headers: str) -> None:
        """Send status and headers of a chunked response."""
        lines = [f"HTTP/1.1 {status} X", f"content-type: {content_type}", "transfer-encoding: chunked"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        self._writer.write(("\r\n".join(lines) + "\r\n\r\n").encode())
        await self._writer.drain()

    async def raw(self, data: bytes) -> None:
        """Send a piece of the body."""
        self._writer.write(b"%x\r\n%s\r\n" % (len(data), data))
        await self._writer.drain()

    async def payload(self, value: Any) -> None:
        """Send a `data` line."""
        text = value if isinstance(value, str) else json.dumps(value)
        await self.raw(f"data: {text}\n\n".encode())

    async def words(self, text: str | None, finish: str | None = None, **more: Any) -> None:
        """Send a chunk of the protocol."""
        choice = {"index": 0, "delta": {"role": "assistant", "content": text}, "finish_reason": finish}
        await self.payload({"model": "fake-7b", "choices": [choice], **more})

    async def end(self) -> None:
        """End the response as one should."""
        self._writer.write(b"0\r\n\r\n")
        await self._writer.drain()

    async def refuse(self, status: int, error: Any, **headers: str) -> None:
        """Answer with an error object."""
        await self.head(status, "application/json", **headers)
        await self.raw(json.dumps({"error": error}).encode())
        await self.end()

    def reset(self) -> None:
        """Break the connection off with a reset."""
        connection = self._writer.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()

    async def gone(self) -> None:
        """Wait until the client has closed the connection."""
        with contextlib.suppress(ConnectionError):
            while await self._reader.read(1024):
                pass


async def say_hello(exchange: Exchange) -> None:
    """Answer properly: a role with null content, two pieces, a finish, the usage, the end."""
    await exchange.head()
    await exchange.words(None)
    await exchange.words("Hel")
    await exchange.words("lo!")
    await exchange.words(None, "stop")
    usage = {"prompt_tokens": 20, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 12}}
    await exchange.payload({"model": "fake-7b", "choices": [], "usage": usage})
    await exchange.payload("[DONE]")
    await exchange.end()


class FakeOpenAI:
    """The server. Scripts are used up one by one; the last one is used for all that follow.

    Attributes:
        exchanges: what was asked, in order.
    """

    def __init__(self, scripts: Iterable[Script]) -> None:
        self._scripts = list(scripts)
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()
        self.exchanges: list[Exchange] = []
        self.port = 0

    @property
    def url(self) -> str:
        """The base URL."""
        return f"http://127.0.0.1:{self.port}/v1"

    async def left(self, idle: int = 0) -> None:
        """Wait until the client has closed all of its connections but for this many, which it may keep for its next request."""
        while len(self._connections) > idle:
            await asyncio.wait(self._connections, return_when=asyncio.FIRST_COMPLETED)

    async def __aenter__(self) -> FakeOpenAI:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._connections:
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        try:
            exchange = Exchange(reader, writer)
            while await exchange.receive():
                self.exchanges.append(exchange)
                script = self._scripts.pop(0) if len(self._scripts) > 1 else self._scripts[0]
                await script(exchange)
                exchange = Exchange(reader, writer)
        except ConnectionError:
            pass
        finally:
            self._connections.discard(task)
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()
