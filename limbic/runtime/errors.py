"""The exception tree, and how each leaf becomes a gRPC status with details.

LimbicError
├── InvalidArgumentError      INVALID_ARGUMENT      with the field's name
├── NotFoundError             NOT_FOUND
├── AlreadyExistsError        ALREADY_EXISTS
├── FailedPreconditionError   FAILED_PRECONDITION
├── ResourceExhaustedError    RESOURCE_EXHAUSTED    with a delay, where a retry can help
├── UnavailableError          UNAVAILABLE           with a delay
│   ├── ServerStartingError
│   └── ServerDrainingError
├── DeadlineError             DEADLINE_EXCEEDED
├── CutError                  ABORTED
├── NotSupportedError         UNIMPLEMENTED
└── InternalError             INTERNAL              with an error id and nothing else

Services derive their own leaves and give each one reason. Only the text of these exceptions ever reaches a client.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, cast

import grpc
from google.protobuf import any_pb2, duration_pb2
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_status import rpc_status

DOMAIN = "limbic"


class LimbicError(Exception):
    """Something that a client may be told: a canonical code, a stable reason and one sentence.

    Attributes:
        code: the canonical status code.
        reason: the ErrorInfo's reason, UPPER_SNAKE_CASE, stable.
        message: one sentence for people.
        retry_after: seconds after which a retry can help, or None where it cannot.
        metadata: the variables of the message, lowerCamelCase, for machines.
    """

    code: ClassVar[grpc.StatusCode] = grpc.StatusCode.INTERNAL
    reason: ClassVar[str] = "INTERNAL_ERROR"

    def __init__(self, message: str, *, retry_after: float | None = None, **metadata: str) -> None:
        super().__init__(message)
        self.message = message
        self.retry_after = retry_after
        self.metadata = metadata


class InvalidArgumentError(LimbicError):
    """The caller sent what cannot be used. `field` is its path in the request, as in the proto; `metadata` the description's variables."""

    code = grpc.StatusCode.INVALID_ARGUMENT
    reason = "INVALID_ARGUMENT"

    def __init__(self, field: str, description: str, **metadata: str) -> None:
        super().__init__(f"{field}: {description}")
        self.metadata = {"field": field, **metadata}
        self.field = field
        self.description = description


class NotFoundError(LimbicError):
    """What was named does not exist."""

    code = grpc.StatusCode.NOT_FOUND
    reason = "NOT_FOUND"


class AlreadyExistsError(LimbicError):
    """An id was used before with other content; the first stands."""

    code = grpc.StatusCode.ALREADY_EXISTS
    reason = "ALREADY_EXISTS"


class FailedPreconditionError(LimbicError):
    """The system is not in the state that the call needs, and a retry alone does not help."""

    code = grpc.StatusCode.FAILED_PRECONDITION
    reason = "FAILED_PRECONDITION"


class ResourceExhaustedError(LimbicError):
    """A limit is reached."""

    code = grpc.StatusCode.RESOURCE_EXHAUSTED
    reason = "RESOURCE_EXHAUSTED"


class UnavailableError(LimbicError):
    """The part is not there now; a retry can help."""

    code = grpc.StatusCode.UNAVAILABLE
    reason = "UNAVAILABLE"


class ServerStartingError(UnavailableError):
    """The server has not finished loading."""

    reason = "SERVER_STARTING"


class ServerDrainingError(UnavailableError):
    """The server is going down."""

    reason = "SERVER_DRAINING"


class DeadlineError(LimbicError):
    """There was not enough time."""

    code = grpc.StatusCode.DEADLINE_EXCEEDED
    reason = "DEADLINE_EXCEEDED"


class CutError(LimbicError):
    """A stream broke off after it had begun to answer."""

    code = grpc.StatusCode.ABORTED
    reason = "CUT"


class NotSupportedError(LimbicError):
    """The call is understood and cannot be served here."""

    code = grpc.StatusCode.UNIMPLEMENTED
    reason = "NOT_SUPPORTED"


class InternalError(LimbicError):
    """A fault of ours. The message holds an error id; what happened stands in the log under that id."""


@dataclass(frozen=True, slots=True)
class RpcFailure:
    """What a failed call said: the code, our reason (empty if the peer gave none), the sentence and the delay in seconds."""

    code: grpc.StatusCode
    reason: str
    message: str
    retry_after: float | None
    metadata: dict[str, str]


def to_status(error: LimbicError) -> status_pb2.Status:
    """Build the `google.rpc.Status` of an error: one ErrorInfo, and BadRequest or RetryInfo where they apply."""
    details = [
        error_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN, metadata=error.metadata),
    ]
    packed = [_pack(detail) for detail in details]
    if isinstance(error, InvalidArgumentError):
        violation = error_details_pb2.BadRequest.FieldViolation(field=error.field, description=error.description)
        packed.append(_pack(error_details_pb2.BadRequest(field_violations=[violation])))
    if error.retry_after is not None:
        delay = duration_pb2.Duration()
        delay.FromNanoseconds(round(error.retry_after * 1e9))
        packed.append(_pack(error_details_pb2.RetryInfo(retry_delay=delay)))
    number = code_pb2.Code.Value(error.code.name)
    return status_pb2.Status(code=number, message=error.message, details=packed)


def failure_of(error: grpc.RpcError) -> RpcFailure:
    """Read what a failed call said. A status whose details are broken counts as one without details."""
    # Every RpcError that a call raises is also a grpc.Call, which the type stubs do not know.
    call = cast(grpc.Call, error)
    reason, retry_after, metadata = "", None, dict[str, str]()
    try:
        status = rpc_status.from_call(call)
    except ValueError:
        status = None
    for detail in status.details if status is not None else ():
        info, retry = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
        if detail.Unpack(info):
            reason, metadata = info.reason, dict(info.metadata)
        elif detail.Unpack(retry):
            retry_after = retry.retry_delay.ToNanoseconds() / 1e9
    return RpcFailure(call.code(), reason, call.details() or "", retry_after, metadata)


def _pack(
    message: error_details_pb2.ErrorInfo | error_details_pb2.BadRequest | error_details_pb2.RetryInfo,
) -> any_pb2.Any:
    packed = any_pb2.Any()
    packed.Pack(message)
    return packed
