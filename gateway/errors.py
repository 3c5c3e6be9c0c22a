"""What a turn may end with, and how a failed generation is told to the client.

LimbicError
├── TurnExistsError            ALREADY_EXISTS       TURN_EXISTS
├── SessionNotFoundError       NOT_FOUND            SESSION_NOT_FOUND
├── TurnNotFoundError          NOT_FOUND            TURN_NOT_FOUND
├── TooManyTurnsError          RESOURCE_EXHAUSTED   TOO_MANY_TURNS
├── SessionBusyError           RESOURCE_EXHAUSTED   SESSION_BUSY
├── HeadUnavailableError       UNAVAILABLE          HEAD_UNAVAILABLE
├── UpstreamUnavailableError   UNAVAILABLE          UPSTREAM_UNAVAILABLE
├── UpstreamOverloadedError    RESOURCE_EXHAUSTED   UPSTREAM_OVERLOADED
├── UpstreamRejectedError      FAILED_PRECONDITION  UPSTREAM_REJECTED
├── UpstreamInvalidError       INTERNAL             UPSTREAM_INVALID
├── UpstreamTimeoutError       DEADLINE_EXCEEDED    UPSTREAM_TIMEOUT
├── GenerationCutError         ABORTED              GENERATION_CUT
└── PromptTooLongError         INVALID_ARGUMENT     PROMPT_TOO_LONG

The sentences are ours: what another process said about its failure is never passed on.
"""

from __future__ import annotations

import grpc

from gateway.ports import BackendFailure
from limbic.runtime.errors import (
    AlreadyExistsError,
    CutError,
    DeadlineError,
    FailedPreconditionError,
    InvalidArgumentError,
    LimbicError,
    NotFoundError,
    ResourceExhaustedError,
    UnavailableError,
)

_RETRY_UNREACHABLE_S = 1.0
"""What a client is told to wait when the living LLM itself gave no delay: our channels reconnect within a second."""

HEAD_RETRY_S = 1.0

_CLASS_KEY = "failureClass"

_REQUEST_FIELDS = {
    "persona": "persona",
    "sampling": "options.sampling",
    "expression": "options.style",
    "messages": "text",
}
"""Where the fields of a GenerateRequest come from in a TurnRequest."""


class TurnExistsError(AlreadyExistsError):
    """The turn id was used before with other words; the first stand."""

    reason = "TURN_EXISTS"


class SessionNotFoundError(NotFoundError):
    """A parent was named in a session that does not exist."""

    reason = "SESSION_NOT_FOUND"


class TurnNotFoundError(NotFoundError):
    """The parent does not exist in this session."""

    reason = "TURN_NOT_FOUND"


class TooManyTurnsError(ResourceExhaustedError):
    """As many turns are running as may."""

    reason = "TOO_MANY_TURNS"


class SessionBusyError(ResourceExhaustedError):
    """Another turn of the session is running."""

    reason = "SESSION_BUSY"


class HeadUnavailableError(UnavailableError):
    """The affect head does not answer, where its answer is all that was asked for."""

    reason = "HEAD_UNAVAILABLE"


class UpstreamUnavailableError(UnavailableError):
    """No model could be reached."""

    reason = "UPSTREAM_UNAVAILABLE"


class UpstreamOverloadedError(ResourceExhaustedError):
    """The model has no room."""

    reason = "UPSTREAM_OVERLOADED"


class UpstreamRejectedError(FailedPreconditionError):
    """The upstream refused: key, model name, quota."""

    reason = "UPSTREAM_REJECTED"


class UpstreamInvalidError(LimbicError):
    """The upstream answered what is no answer."""

    code = grpc.StatusCode.INTERNAL
    reason = "UPSTREAM_INVALID"


class UpstreamTimeoutError(DeadlineError):
    """No delta came in time."""

    reason = "UPSTREAM_TIMEOUT"


class GenerationCutError(CutError):
    """The reply broke off after its first delta."""

    reason = "GENERATION_CUT"


class PromptTooLongError(InvalidArgumentError):
    """Persona and words alone do not fit the model's window."""

    reason = "PROMPT_TOO_LONG"


def reply_error(failure: BackendFailure) -> LimbicError:
    """Return what the client is told when no reply could be made: the living LLM's reason and delay, in our words."""
    metadata = {_CLASS_KEY: failure.metadata[_CLASS_KEY]} if _CLASS_KEY in failure.metadata else {}
    match failure.code, failure.reason:
        case _, "UPSTREAM_OVERLOADED":
            return UpstreamOverloadedError(
                "the language model has no room now", retry_after=failure.retry_after, **metadata
            )
        case _, "UPSTREAM_REJECTED":
            return UpstreamRejectedError(
                "the language model's server refused the request; its key, model name or quota needs attention",
                retry_after=failure.retry_after,
                **metadata,
            )
        case _, "PROMPT_TOO_LONG":
            if failure.metadata.get("field") == "persona":
                return PromptTooLongError("persona", "does not fit the model's window")
            return PromptTooLongError("text", "does not fit the model's window together with the persona")
        case "UNAVAILABLE", _:
            delay = failure.retry_after if failure.retry_after is not None else _RETRY_UNREACHABLE_S
            return UpstreamUnavailableError("no language model could be reached", retry_after=delay, **metadata)
        case "DEADLINE_EXCEEDED", _:
            return UpstreamTimeoutError(
                "the language model did not answer in time", retry_after=failure.retry_after, **metadata
            )
        case "ABORTED", "GENERATION_CUT":
            return GenerationCutError(
                "the reply broke off before anything of it was passed on", retry_after=failure.retry_after, **metadata
            )
        case "INVALID_ARGUMENT", _:
            head, dot, rest = failure.metadata.get("field", "messages").partition(".")
            field = _REQUEST_FIELDS.get(head, head)
            if allowed := failure.metadata.get("allowed"):
                return InvalidArgumentError(field, f"must be one of {allowed}, or empty", allowed=allowed)
            return InvalidArgumentError(
                f"{field}{dot}{rest}" if head == "sampling" else field, "was refused by the language model's service"
            )
        case _:
            return UpstreamInvalidError(
                "the language model's service failed", retry_after=failure.retry_after, **metadata
            )


def cut_error(failure: BackendFailure, reply_turn_id: str) -> GenerationCutError:
    """Return what the client is told when the reply broke off after its first delta."""
    return GenerationCutError(
        "the reply broke off; what was said is kept and marked as cut",
        failureClass=failure.metadata.get(_CLASS_KEY, "cut"),
        replyTurnId=reply_turn_id,
    )
