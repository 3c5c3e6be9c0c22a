"""What the page's API may refuse with, and how any failure is told over HTTP.

LimbicError
├── ForeignOriginError     PERMISSION_DENIED     FOREIGN_ORIGIN            403
├── UnknownHostError       PERMISSION_DENIED     UNKNOWN_HOST              403
├── MediaTypeError         INVALID_ARGUMENT      UNSUPPORTED_MEDIA_TYPE    415
├── BodyTooLargeError      INVALID_ARGUMENT      BODY_TOO_LARGE            413
└── WordsNotKeptError      FAILED_PRECONDITION   WORDS_NOT_KEPT            409

Everything else is as over gRPC: the same reason, the same sentence, and the HTTP status that Google's APIs give for its code.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, cast

import grpc
from fastapi import Request, Response
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute

from gateway.access.visitor import current_visitor
from limbic.runtime.errors import (
    FailedPreconditionError,
    InvalidArgumentError,
    LimbicError,
    RpcFailure,
    failure_of,
)

_STATUSES = {
    grpc.StatusCode.INVALID_ARGUMENT: 400,
    grpc.StatusCode.UNAUTHENTICATED: 401,
    grpc.StatusCode.PERMISSION_DENIED: 403,
    grpc.StatusCode.NOT_FOUND: 404,
    grpc.StatusCode.ALREADY_EXISTS: 409,
    grpc.StatusCode.ABORTED: 409,
    grpc.StatusCode.FAILED_PRECONDITION: 409,
    grpc.StatusCode.RESOURCE_EXHAUSTED: 429,
    grpc.StatusCode.UNIMPLEMENTED: 501,
    grpc.StatusCode.UNAVAILABLE: 503,
    grpc.StatusCode.DEADLINE_EXCEEDED: 504,
}
_STATUSES_OF_REASONS = {"UNSUPPORTED_MEDIA_TYPE": 415, "BODY_TOO_LARGE": 413}

_WITHOUT_ANSWER = {
    grpc.StatusCode.UNAVAILABLE: "could not be reached; try again in a moment",
    grpc.StatusCode.DEADLINE_EXCEEDED: "did not answer in time",
}


class ForeignOriginError(LimbicError):
    """The request was made by a page of another origin."""

    code = grpc.StatusCode.PERMISSION_DENIED
    reason = "FOREIGN_ORIGIN"


class UnknownHostError(LimbicError):
    """The request names a host that this gateway does not go by."""

    code = grpc.StatusCode.PERMISSION_DENIED
    reason = "UNKNOWN_HOST"


class MediaTypeError(InvalidArgumentError):
    """The body is declared to be something else than JSON."""

    reason = "UNSUPPORTED_MEDIA_TYPE"


class BodyTooLargeError(InvalidArgumentError):
    """The body is larger than any valid one."""

    reason = "BODY_TOO_LARGE"


class WordsNotKeptError(FailedPreconditionError):
    """What was asked is about words that the journal does not keep."""

    reason = "WORDS_NOT_KEPT"


def error_fields(error: LimbicError | grpc.RpcError) -> tuple[int, dict[str, Any]]:
    """Return the HTTP status of an error, and the body that tells it."""
    if isinstance(error, LimbicError):
        code, reason, message, metadata = error.code, error.reason, error.message, error.metadata
        retry_after = error.retry_after
    else:
        said = _told(failure_of(error))
        code, reason, message, metadata = said.code, said.reason, said.message, said.metadata
        retry_after = said.retry_after
        if (visitor := current_visitor()) is not None:
            message = visitor.told(message)
    status = _STATUSES_OF_REASONS.get(reason) or _STATUSES.get(code, 500)
    fields: dict[str, Any] = {"code": status, "status": code.name, "reason": reason, "message": message}
    if field := metadata.get("field"):
        fields["field"] = field
    if retry_after is not None:
        fields["retry_after_s"] = retry_after
    return status, {"error": fields}


def error_response(error: LimbicError | grpc.RpcError) -> JSONResponse:
    """Return an error as a response."""
    status, body = error_fields(error)
    headers = {"cache-control": "no-store", "x-content-type-options": "nosniff"}
    if "retry_after_s" in body["error"]:
        headers["retry-after"] = str(max(1, round(body["error"]["retry_after_s"])))
    return JSONResponse(body, status_code=status, headers=headers)


class ConversationRoute(APIRoute):
    """A route whose errors are told as this API tells them."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return the handler, with its errors answered."""
        handle = super().get_route_handler()

        async def answer(request: Request) -> Response:
            try:
                return await handle(request)
            except (LimbicError, grpc.RpcError) as error:
                return error_response(error)

        return answer


def _told(failure: RpcFailure) -> RpcFailure:
    if failure.reason:
        return failure
    # Without a reason it was not one of our services that answered, and its words are not ours to pass on.
    what = _WITHOUT_ANSWER.get(failure.code, "failed")
    return RpcFailure(failure.code, failure.code.name, f"a part of the system {what}", failure.retry_after, {})


def unavailable_part(error: grpc.RpcError) -> bool:
    """Tell whether a call failed because the other side is away, so that it can be begun again later."""
    return cast(grpc.Call, error).code() is grpc.StatusCode.UNAVAILABLE
