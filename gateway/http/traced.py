"""Traces requests over HTTP, as the interceptor does calls over gRPC."""

from __future__ import annotations

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from limbic.runtime.tracing import failed, is_on, server_span


class Traced:
    """Middleware. Without an endpoint for traces it passes everything on.

    Args:
        app: what answers.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request within a span."""
        if scope["type"] != "http" or not is_on():
            await self._app(scope, receive, send)
            return
        headers = [(key.decode("latin-1"), value.decode("latin-1")) for key, value in scope["headers"]]
        method: str = scope["method"]
        with server_span(method, lambda: headers, {"http.request.method": method}) as span:

            async def noted(message: Message) -> None:
                if message["type"] == "http.response.start":
                    span.set_attribute("http.response.status_code", message["status"])
                    if message["status"] >= 500:
                        failed(span, str(message["status"]))
                await send(message)

            try:
                await self._app(scope, receive, noted)
            finally:
                # The pattern of the path, which is known by now: a path itself may hold what a client chose.
                if route := getattr(scope.get("route"), "path", None):
                    span.update_name(f"{method} {route}")
                    span.set_attribute("http.route", route)
