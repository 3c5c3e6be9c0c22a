"""Classification as SillyTavern's expressions ask for it, in the form of its "Extras" server.

Its page asks for `/api/modules` when it connects, for `/api/classify/labels` to know which expressions there are, and then sends what the
character has said to `/api/classify`. The head's labels are those after which SillyTavern's expressions are named.
Nothing is felt or recorded by it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from gateway.completions.messages import checked_text
from gateway.errors import HEAD_RETRY_S, HeadUnavailableError
from gateway.http.completions import check_json
from gateway.http.conversations_errors import ConversationRoute
from gateway.http.conversations_guard import Guard
from gateway.http.conversations_json import body_of
from gateway.ports import AffectPort, BackendFailure
from limbic.affect.v1 import affect_pb2
from limbic.runtime import validate
from limbic.runtime.errors import InvalidArgumentError

_DEADLINE_S = 5.0
_HEAD_CHARS = 8_000
"""What the head takes. SillyTavern sends 500 characters at most."""


def classification(affect: AffectPort, labels: Callable[[float], Awaitable[list[str]]], guard: Guard) -> APIRouter:
    """Build the face.

    Args:
        affect: the head.
        labels: asks it for its emotions, within a timeout in seconds.
        guard: says by which names we are called.
    """
    face = APIRouter(prefix="/api", route_class=ConversationRoute)

    @face.get("/modules")
    async def modules(request: Request) -> Response:
        """Say which of the Extras' modules there are."""
        guard.check_host(request)
        return JSONResponse({"modules": ["classify"]})

    @face.get("/classify/labels")
    async def known_labels(request: Request) -> Response:
        """List the emotions."""
        guard.check_host(request)
        try:
            return JSONResponse({"labels": await labels(_DEADLINE_S)})
        except BackendFailure as failure:
            raise _unavailable(failure) from failure

    @face.post("/classify")
    async def classify(request: Request) -> Response:
        """Return how likely each emotion is, the likeliest first."""
        guard.check_host(request)
        check_json(request)
        text = _text(await body_of(request))
        try:
            reading = await affect.classify(affect_pb2.ClassifyRequest(text=text), _DEADLINE_S)
        except BackendFailure as failure:
            raise _unavailable(failure) from failure
        ordered = sorted(reading.emotions, key=lambda emotion: -emotion.probability)
        return JSONResponse(
            {"classification": [{"label": emotion.label, "score": emotion.probability} for emotion in ordered]}
        )

    return face


def _text(body: dict[str, Any]) -> str:
    text = body.get("text")
    if not isinstance(text, str):
        raise InvalidArgumentError("text", "is required")
    return validate.text("text", checked_text("text", text).strip()[-_HEAD_CHARS:], _HEAD_CHARS)


def _unavailable(failure: BackendFailure) -> HeadUnavailableError:
    delay = failure.retry_after if failure.retry_after is not None else HEAD_RETRY_S
    return HeadUnavailableError(f"the affect head does not answer ({failure.label})", retry_after=delay)
