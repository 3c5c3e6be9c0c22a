"""The application: its faces, and how it says that something went wrong."""

from __future__ import annotations

from collections.abc import Sequence

from fastapi import APIRouter, FastAPI, Request
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from limbic.runtime.logs import get_logger

_log = get_logger(__name__)


def create_app(faces: Sequence[APIRouter]) -> FastAPI:
    """Build the application.

    Args:
        faces: what it serves. An error that no face answers in a form of its own is a JSON object `error` with `code` and `message`.
    """
    app = FastAPI(title="Limbic gateway", docs_url=None, redoc_url=None)
    for face in faces:
        app.include_router(face)

    @app.exception_handler(HTTPException)
    async def refused(_: Request, error: HTTPException) -> JSONResponse:
        return _error(error.status_code, str(error.detail))

    @app.exception_handler(Exception)
    async def failed(request: Request, error: Exception) -> JSONResponse:
        _log.error("internal error", path=request.url.path, exc_info=error)
        return _error(500, "internal error; the service's log says what happened")

    return app


def _error(status: int, message: str) -> JSONResponse:
    return JSONResponse({"error": {"code": status, "message": message}}, status_code=status)
