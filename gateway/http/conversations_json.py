"""The contracts' messages as JSON over HTTP: protobuf's JSON mapping with the proto's own field names, in both directions."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, TypeVar

from fastapi import Request
from fastapi.responses import JSONResponse
from google.protobuf.json_format import MessageToDict, ParseDict, ParseError
from google.protobuf.message import Message

from gateway.http.conversations_errors import BodyTooLargeError
from limbic.runtime.errors import InvalidArgumentError

M = TypeVar("M", bound=Message)

MAX_BODY_BYTES = 256 * 1024
"""A turn of 8,000 characters with a persona of 16,000, every one of them escaped as JSON may, and its options."""


def fields_of(message: Message) -> dict[str, Any]:
    """Return a message as the JSON object that stands for it."""
    fields: dict[str, Any] = MessageToDict(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
    return fields


def answer(message: Message) -> JSONResponse:
    """Return a message as a response that no cache keeps."""
    return JSONResponse(fields_of(message), headers={"cache-control": "no-store", "x-content-type-options": "nosniff"})


async def body_of(request: Request, limit: int = MAX_BODY_BYTES) -> dict[str, Any]:
    """Read a request's body, which must be a JSON object; an empty one stands for an empty object.

    Raises:
        BodyTooLargeError: it has more than `limit` bytes; the rest is not read.
        InvalidArgumentError: it is no JSON object.
    """
    read = bytearray()
    async for chunk in request.stream():
        read += chunk
        if len(read) > limit:
            raise BodyTooLargeError("body", f"must have at most {limit:,} bytes")
    try:
        body = json.loads(bytes(read) or b"{}")
    except (ValueError, RecursionError):
        # The error's own text quotes what somebody said.
        raise InvalidArgumentError("body", "is not valid JSON") from None
    if not isinstance(body, dict):
        raise InvalidArgumentError("body", "must be a JSON object")
    return body


def query_of(request: Request) -> dict[str, Any]:
    """Return the query's parameters.

    Raises:
        InvalidArgumentError: one is given twice.
    """
    query = dict(request.query_params)
    for name in query:
        if len(request.query_params.getlist(name)) > 1:
            raise InvalidArgumentError(name, "is given twice")
    return query


def message_of(kind: type[M], fields: Mapping[str, Any], **fixed: str) -> M:
    """Return the message that a JSON object stands for.

    Args:
        kind: the message's class.
        fields: what came.
        fixed: fields that the path says; what came must say the same, or nothing.

    Raises:
        InvalidArgumentError: a field is unknown or has a value that it cannot have. Never quotes the value.
    """
    message = kind()
    known = message.DESCRIPTOR.fields_by_name
    for name, value in {**fields, **fixed}.items():
        if name not in known:
            raise InvalidArgumentError(name[:64], f"is no field of {message.DESCRIPTOR.name}")
        if name in fixed and fields.get(name, fixed[name]) != fixed[name]:
            raise InvalidArgumentError(name, "is not what the path says")
        try:
            ParseDict({name: value}, message)
        except (ParseError, ValueError, TypeError, RecursionError):
            raise InvalidArgumentError(name, "cannot have this value") from None
    return message
