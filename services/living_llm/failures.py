"""What can go wrong with an upstream, and what that means for a retry.

Failure
├── TransientFailure      it can pass: refused, reset, 5xx, a model that is loading, a stream that ended before its first delta
│   ├── TimeoutFailure        no delta in time; not tried again, the upstream may still be busy with the first try
│   └── CircuitOpenFailure    not tried at all
├── OverloadedFailure     no room now: 429, a full queue
├── RejectedFailure       the upstream refused us: key, model name, quota, a request that it does not take
├── InvalidFailure        it answered what is no answer
└── CutFailure            it broke off after its first delta

`kind` and `detail` are our own words: what an upstream writes into its errors may quote the prompt, and is never passed on.
"""

from __future__ import annotations

from typing import ClassVar

from limbic.runtime.errors import (
    CutError,
    DeadlineError,
    FailedPreconditionError,
    InvalidArgumentError,
    LimbicError,
    ResourceExhaustedError,
    UnavailableError,
)


class Failure(Exception):
    """A try that brought no reply.

    Attributes:
        failure_class: transient, overloaded, rejected, invalid or cut.
        retryable: whether another try can help.
        counts_against_circuit: whether it says that the upstream is ill.
        kind: a short stable name of what happened, for counters.
        detail: what happened, in a few words.
        retry_after: seconds that the upstream asked us to wait, or None.
    """

    failure_class: ClassVar[str]
    retryable: ClassVar[bool] = False
    counts_against_circuit: ClassVar[bool] = False

    def __init__(self, kind: str, detail: str, *, retry_after: float | None = None) -> None:
        super().__init__(detail)
        self.kind = kind
        self.detail = detail
        self.retry_after = retry_after


class TransientFailure(Failure):
    """It can pass."""

    failure_class = "transient"
    retryable = True
    counts_against_circuit = True


class TimeoutFailure(TransientFailure):
    """No delta came in time. Another try would add load to an upstream that may still be busy with this one."""

    retryable = False


class CircuitOpenFailure(TransientFailure):
    """The upstream failed so often that it is left alone for a while."""

    retryable = False
    counts_against_circuit = False


class OverloadedFailure(Failure):
    """There is no room now. It says nothing against the upstream's health."""

    failure_class = "overloaded"
    retryable = True


class RejectedFailure(Failure):
    """The upstream refused us; the same request will be refused again."""

    failure_class = "rejected"


class InvalidFailure(Failure):
    """What came is no answer in the protocol."""

    failure_class = "invalid"
    counts_against_circuit = True


class CutFailure(Failure):
    """It broke off after its first delta: a part has been said already, so it cannot be tried again."""

    failure_class = "cut"
    counts_against_circuit = True


class UpstreamUnavailableError(UnavailableError):
    """No upstream could be reached, or its circuit is open."""

    reason = "UPSTREAM_UNAVAILABLE"


class UpstreamOverloadedError(ResourceExhaustedError):
    """The upstream, or our own queue, has no room."""

    reason = "UPSTREAM_OVERLOADED"


class UpstreamRejectedError(FailedPreconditionError):
    """The upstream refused."""

    reason = "UPSTREAM_REJECTED"


class UpstreamInvalidError(LimbicError):
    """The upstream answered what is no answer. INTERNAL, by its base."""

    reason = "UPSTREAM_INVALID"


class UpstreamTimeoutError(DeadlineError):
    """No delta came in time."""

    reason = "UPSTREAM_TIMEOUT"


class GenerationCutError(CutError):
    """The stream broke off after its first delta."""

    reason = "GENERATION_CUT"


class PromptTooLongError(InvalidArgumentError):
    """Persona and last message alone do not fit the model's window."""

    reason = "PROMPT_TOO_LONG"


_ERRORS: dict[type[Failure], type[LimbicError]] = {
    TransientFailure: UpstreamUnavailableError,
    TimeoutFailure: UpstreamTimeoutError,
    CircuitOpenFailure: UpstreamUnavailableError,
    OverloadedFailure: UpstreamOverloadedError,
    RejectedFailure: UpstreamRejectedError,
    InvalidFailure: UpstreamInvalidError,
    CutFailure: GenerationCutError,
}

# Where the upstream gave no delay of its own.
DEFAULT_RETRY_AFTER_S = 1.0


def to_error(failure: Failure, upstream: str) -> LimbicError:
    """Return what a client is told of a failure."""
    error = _ERRORS[type(failure)]
    retry_after = failure.retry_after
    if retry_after is None and error in (UpstreamUnavailableError, UpstreamOverloadedError):
        retry_after = DEFAULT_RETRY_AFTER_S
    return error(
        f"the language model ({upstream}): {failure.detail}",
        retry_after=retry_after,
        failureClass=failure.failure_class,
        failureKind=failure.kind,
        upstream=upstream,
    )
