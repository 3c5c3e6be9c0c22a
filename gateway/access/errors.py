"""Why somebody is not let in.

LimbicError
├── UnauthenticatedError     UNAUTHENTICATED     KEY_REQUIRED or KEY_UNKNOWN   401
├── OperatorOnlyError        PERMISSION_DENIED   OPERATOR_ONLY                 403
├── TooManyRequestsError     RESOURCE_EXHAUSTED  KEY_RATE_EXCEEDED             429
└── TooManySessionsError     RESOURCE_EXHAUSTED  KEY_SESSIONS_EXCEEDED         429
"""

from __future__ import annotations

import grpc

from limbic.runtime.errors import LimbicError, ResourceExhaustedError

CHALLENGE = 'Bearer realm="limbic"'
"""The WWW-Authenticate header of a refusal (RFC 6750)."""


class UnauthenticatedError(LimbicError):
    """No key was sent, or none that is good."""

    code = grpc.StatusCode.UNAUTHENTICATED


class KeyRequiredError(UnauthenticatedError):
    """No key was sent."""

    reason = "KEY_REQUIRED"

    def __init__(self) -> None:
        super().__init__(
            "a key is needed: send it as `authorization: Bearer KEY`; whoever runs this gateway makes one with `limbic keys create`"
        )


class KeyUnknownError(UnauthenticatedError):
    """A key was sent that is not good. It is not said why: whoever guesses learns nothing."""

    reason = "KEY_UNKNOWN"

    def __init__(self) -> None:
        super().__init__("this key is not known here, or it has expired or was revoked")


class OperatorOnlyError(LimbicError):
    """It takes an operator's key."""

    code = grpc.StatusCode.PERMISSION_DENIED
    reason = "OPERATOR_ONLY"

    def __init__(self) -> None:
        super().__init__("this needs an operator's key (`limbic keys create NAME --operator`)")


class TooManyRequestsError(ResourceExhaustedError):
    """The key has been used too often lately."""

    reason = "KEY_RATE_EXCEEDED"

    def __init__(self, what: str, per_minute: int, retry_after: float) -> None:
        super().__init__(
            f"this key may make {per_minute:,} {what} a minute, and has; try again in {retry_after:.1f} s",
            retry_after=retry_after,
            perMinute=str(per_minute),
        )


class TooManySessionsError(ResourceExhaustedError):
    """The key holds as many sessions as it may."""

    reason = "KEY_SESSIONS_EXCEEDED"

    def __init__(self, limit: int) -> None:
        super().__init__(
            f"this key holds {limit:,} sessions, which is as many as it may; delete one to open another",
            limit=str(limit),
        )
