"""Lets front ends that run in a browser call what is made for them: `/v1` and the classification, from known origins only."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

_OPEN = ("/v1/", "/api/modules", "/api/classify")
"""Paths; everything else is for the page and for programs, which need no permission of this kind."""

_THIS_MACHINE = r"https?://(localhost|127\.0\.0\.1|\[::1\])(:\d{1,5})?"
"""SillyTavern's page and the like. Any other site that somebody visits must not speak with the character, or listen."""

_SHOWN = ("x-limbic-session", "x-limbic-turn", "x-limbic-degraded", "x-limbic-trace", "retry-after", "www-authenticate")


class Cors:
    """Answers browsers' questions of who may call, in front of the application.

    Args:
        app: the application.
        origins: who may, besides pages of this machine.
    """

    def __init__(self, app: ASGIApp, origins: Sequence[str]) -> None:
        self._app = app
        self._asked = CORSMiddleware(
            app,
            allow_origins=origins,
            allow_origin_regex=_THIS_MACHINE,
            allow_methods=("GET", "POST"),
            allow_headers=("*",),
            expose_headers=_SHOWN,
            max_age=600,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a call on."""
        is_open = scope["type"] == "http" and str(scope["path"]).startswith(_OPEN)
        await (self._asked if is_open else self._app)(scope, receive, send)
