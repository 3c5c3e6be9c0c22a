"""The application: its faces, and how it says that something went wrong."""

from __future__ import annotations

from collections.abc import Sequence

from fastapi import APIRouter, FastAPI, Request
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from gateway.access.access import Access
from gateway.completions.errors import error_body
from gateway.http.cors import Cors
from gateway.http.keys import KeyDoor
from gateway.http.traced import Traced
from limbic.runtime.logs import get_logger

_log = get_logger(__name__)


def create_app(faces: Sequence[APIRouter], cors_origins: Sequence[str], access: Access) -> FastAPI:
    """Build the application.

    Args:
        faces: what it serves. An error that no face answers in a form of its own is a JSON object `error` with `code` and `message`,
            and below /v1 one of OpenAI's form.
        cors_origins: where front ends in a browser may come from, besides this machine.
        access: who may come in.
    """
    app = FastAPI(title="Limbic gateway", docs_url=None, redoc_url=None)
    for face in faces:
        app.include_router(face)

    # The last one added is the outermost: a browser asks for permission without a key.
    app.add_middleware(KeyDoor, access=access)
    app.add_middleware(Cors, origins=cors_origins)
    app.add_middleware(Traced)

    @app.exception_handler(HTTPException)
    async def refused(request: Request, error: HTTPException) -> JSONResponse:
        return _error(request, error.status_code, str(error.detail))

    @app.exception_handler(Exception)
    async def failed(request: Request, error: Exception) -> JSONResponse:
        # The route and not the path, which holds what a client calls its session.
        _log.error("internal error", route=getattr(request.scope.get("route"), "path", ""), exc_info=error)
        return _error(request, 500, "internal error; the service's log says what happened")

    return app


def _error(request: Request, status: int, message: str) -> JSONResponse:
    if request.url.path.startswith("/v1/"):
        return JSONResponse(error_body(status, message), status_code=status)
    return JSONResponse({"error": {"code": status, "message": message}}, status_code=status)
