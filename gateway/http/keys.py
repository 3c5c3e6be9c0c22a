"""The door for HTTP. Every path is behind it, known or not, except those that are named here."""

from __future__ import annotations

from fastapi.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.access.access import Access
from gateway.access.errors import CHALLENGE, UnauthenticatedError
from gateway.access.visitor import Visitor, visiting
from gateway.completions.errors import told
from gateway.http.conversations_errors import error_response
from limbic.runtime.errors import LimbicError

EXEMPT = frozenset({"/", "/healthz", "/readyz"})
"""The page asks for a key by itself, and holds nothing that is secret; the other two say yes or no."""
EXEMPT_BELOW = "/page/"

OPERATOR = frozenset({"/metrics"})
"""What tells of everybody."""

_AUTHORIZATION = b"authorization"
_POLICY_VIOLATION = 1008
"""RFC 6455, 7.4.1."""


class KeyDoor:
    """Asks every request for a key before anything else of it is looked at.

    The key ends here: behind this door the header holds the owner's name instead, which stays the same when a key is replaced.

    Args:
        app: the application.
        access: knows the keys.
    """

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self._app = app
        self._access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer it with a refusal."""
        if not self._access.asks:
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            # Nothing here speaks over a web socket; whatever may one day comes in by this door.
            await send({"type": "websocket.close", "code": _POLICY_VIOLATION})
            return
        path = str(scope["path"])
        visitor: Visitor | None
        try:
            visitor = self._access.admit(_authorization(scope), operator=path in OPERATOR)
        except LimbicError as error:
            if not is_exempt(path):
                await _refusal(path, error)(scope, receive, send)
                return
            visitor = None
        # In place: whoever traces the request looks into the same scope for its route.
        scope["headers"] = _without_key(scope, visitor)
        with visiting(visitor):
            await self._app(scope, receive, send)


def is_exempt(path: str) -> bool:
    """Return whether a path needs no key."""
    return path in EXEMPT or path.startswith(EXEMPT_BELOW)


def _authorization(scope: Scope) -> str:
    values = [value for name, value in scope["headers"] if name == _AUTHORIZATION]
    return values[0].decode("latin-1") if len(values) == 1 else ""


def _without_key(scope: Scope, visitor: Visitor | None) -> list[tuple[bytes, bytes]]:
    headers = [(name, value) for name, value in scope["headers"] if name != _AUTHORIZATION]
    if visitor is not None and visitor.key is not None:
        headers.append((_AUTHORIZATION, f"Bearer {visitor.key.owner}".encode()))
    return headers


def _refusal(path: str, error: LimbicError) -> JSONResponse:
    if path.startswith("/v1/"):
        said = told(error)
        response = JSONResponse(said.body, status_code=said.status, headers=said.headers)
    else:
        response = error_response(error)
    if isinstance(error, UnauthenticatedError):
        response.headers["www-authenticate"] = CHALLENGE
    return response
