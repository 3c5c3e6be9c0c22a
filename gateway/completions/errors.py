"""Tells an error as OpenAI's API does. Pure.

The HTTP statuses are those on which the official clients act: they repeat 408, 409, 429 and 5xx by themselves, after `Retry-After`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import grpc

from limbic.runtime.errors import InvalidArgumentError, LimbicError

_STATUSES = {
    grpc.StatusCode.INVALID_ARGUMENT: 400,
    grpc.StatusCode.UNAUTHENTICATED: 401,
    grpc.StatusCode.PERMISSION_DENIED: 403,
    grpc.StatusCode.NOT_FOUND: 404,
    grpc.StatusCode.ALREADY_EXISTS: 409,
    grpc.StatusCode.RESOURCE_EXHAUSTED: 429,
    grpc.StatusCode.UNAVAILABLE: 503,
    grpc.StatusCode.DEADLINE_EXCEEDED: 504,
    # The server behind us refused, or broke off: that is not the client's to put right.
    grpc.StatusCode.FAILED_PRECONDITION: 502,
    grpc.StatusCode.ABORTED: 502,
}
_STATUSES_OF_REASONS = {"UPSTREAM_INVALID": 502, "BODY_TOO_LARGE": 413, "UNSUPPORTED_MEDIA_TYPE": 415}
_TYPES = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}
_CODES = {
    "KEY_UNKNOWN": "invalid_api_key",
    "PROMPT_TOO_LONG": "context_length_exceeded",
    "UNSUPPORTED": "unsupported_parameter",
}

_PARAMS = {"text": "messages", "persona": "messages"}
_SAMPLING = "options.sampling."


@dataclass(frozen=True, slots=True)
class ToldError:
    """An error as the client sees it: the HTTP status, the JSON body, and headers."""

    status: int
    body: dict[str, Any]
    headers: dict[str, str]


def told(error: LimbicError) -> ToldError:
    """Return what the client is told of an error."""
    status = _STATUSES_OF_REASONS.get(error.reason) or _STATUSES.get(error.code, 500)
    message, param = error.message, None
    if isinstance(error, InvalidArgumentError):
        param = _PARAMS.get(error.field, error.field.removeprefix(_SAMPLING))
        message = f"{param}: {error.description}"
    headers = {}
    if error.retry_after is not None:
        headers["retry-after"] = str(max(1, math.ceil(error.retry_after)))
    return ToldError(status, error_body(status, message, param, error.reason), headers)


def error_body(status: int, message: str, param: str | None = None, reason: str = "") -> dict[str, Any]:
    """Return the body of an error."""
    kind = _TYPES.get(status) or ("server_error" if status >= 500 else "invalid_request_error")
    code = _CODES.get(reason, reason.lower()) or None
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}
