"""A hub of model files that misbehaves on purpose: a real HTTP server on a port of its own."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Hub:
    """What the server does, to be changed between requests.

    Attributes:
        content: the file, at any path but those below.
        etag: its version; empty for none.
        sha256: what the hub says that it contains, on the way to it; empty if it says nothing.
        size: how large the hub says that it is.
        ranges: whether a part can be asked for.
        cut: after how many bytes of each answer the connection ends; one entry an answer, None for never.
        announce: what Content-Length says instead of the truth; -1 for no such header.
        statuses: an answer each before the file is served.
        content_type: of the file.
        redirect: where requests are sent first.
        seen: the requests that came, as (path, headers).
        hold: waited for in the middle of the file.
    """

    content: bytes = field(default=b"", repr=False)
    etag: str = '"one"'
    sha256: str = ""
    size: int = 0
    ranges: bool = True
    cut: list[int | None] = field(default_factory=list)
    announce: int = 0
    statuses: list[tuple[int, dict[str, str]]] = field(default_factory=list)
    content_type: str = "application/octet-stream"
    redirect: str = ""
    seen: list[tuple[str, dict[str, str]]] = field(default_factory=list, repr=False)
    hold: threading.Event | None = None
    url: str = ""

    def ranges_seen(self) -> list[str | None]:
        """Return what each request asked for."""
        return [headers.get("range") for _, headers in self.seen]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def do_GET(self) -> None:
        hub, headers = self.hub, {name.lower(): value for name, value in self.headers.items()}
        hub.seen.append((self.path, headers))
        if hub.statuses:
            status, more = hub.statuses.pop(0)
            self._answer(status, {"Content-Length": "0", **more})
            return
        if hub.redirect and not self.path.startswith("/cdn/"):
            said = {"X-Linked-Etag": f'"{hub.sha256}"', "X-Linked-Size": str(hub.size)} if hub.sha256 else {}
            self._answer(302, {"Location": hub.redirect, "Content-Length": "0", **said})
            return
        start = 0
        asked = headers.get("range", "")
        if asked and hub.ranges and headers.get("if-range", hub.etag) == hub.etag:
            start = int(asked.removeprefix("bytes=").rstrip("-"))
        if start and start >= len(hub.content):
            self._answer(416, {"Content-Range": f"bytes */{len(hub.content)}", "Content-Length": "0"})
            return
        self._send(start)

    def _send(self, start: int) -> None:
        hub = self.hub
        body = hub.content[start:]
        length = hub.announce or len(body)
        headers = {"Content-Type": hub.content_type}
        if length >= 0:
            headers["Content-Length"] = str(length)
        if hub.etag:
            headers["ETag"] = hub.etag
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(hub.content) - 1}/{len(hub.content)}"
        self._answer(206 if start else 200, headers)
        cut = hub.cut.pop(0) if hub.cut else None
        sent = body if cut is None else body[:cut]
        half = len(sent) // 2
        self.wfile.write(sent[:half])
        self.wfile.flush()
        if hub.hold is not None:
            hub.hold.wait(10.0)
        self.wfile.write(sent[half:])
        self.close_connection = cut is not None or length != len(body)

    def _answer(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


@contextmanager
def serving_hub(hub: Hub, host: str = "127.0.0.1") -> Iterator[str]:
    """Serve a hub and yield its URL."""
    server = ThreadingHTTPServer((host, 0), type("Handler", (_Handler,), {"hub": hub}))
    server.daemon_threads = False
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    hub.url = f"http://{host}:{server.server_port}"
    try:
        yield hub.url
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
