"""What can go wrong with an upstream, and what that means for another try at it and for the upstreams behind it.

                                                                                            tried again   the next one is asked
Failure
├── TransientFailure      it can pass: refused, reset, 5xx, a model that is loading,
│   │                     a stream that ended before its first delta                            yes             yes
│   ├── TimeoutFailure        no delta in time; it may still be busy with the first try         no              yes
│   │   └── OutOfTimeFailure      the time that the caller left was shorter than its own        no              yes
│   └── CircuitOpenFailure    not tried at all                                                  no              yes
├── OverloadedFailure     no room now: 429, a full queue                                        yes             yes
├── RejectedFailure       the upstream refused us: key, model name, quota, its window           no              yes
│   └── BadRequestFailure     it refused the request itself, as any other would                 no              no
├── InvalidFailure        it answered what is no answer                                         no              yes
└── CutFailure            it broke off after its first delta                                    no              no
    └── OutOfTimeCutFailure   the caller's time was up                                          no              no

`kind` and `detail` are our own words: what an upstream writes into its errors may quote the prompt, and is never passed on.
"""

from __future__ import annotations

from collections.abc import Sequence
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
        another_may_speak: whether an upstream behind this one can help.
        counts_against_circuit: whether it says that the upstream is ill.
        upstream: the name of the one that failed; empty until the voice around it has filled it in.
        kind: a short stable name of what happened, for counters.
        detail: what happened, in a few words.
        retry_after: seconds that the upstream asked us to wait, or None.
    """

    failure_class: ClassVar[str]
    retryable: ClassVar[bool] = False
    another_may_speak: ClassVar[bool] = True
    counts_against_circuit: ClassVar[bool] = False

    def __init__(self, kind: str, detail: str, *, retry_after: float | None = None) -> None:
        super().__init__(detail)
        self.kind = kind
        self.detail = detail
        self.retry_after = retry_after
        self.upstream = ""


class TransientFailure(Failure):
    """It can pass."""

    failure_class = "transient"
    retryable = True
    counts_against_circuit = True


class TimeoutFailure(TransientFailure):
    """No delta came in time. Another try would add load to an upstream that may still be busy with this one."""

    retryable = False


class OutOfTimeFailure(TimeoutFailure):
    """The caller left less time than the upstream has by its settings: that says nothing against it."""

    counts_against_circuit = False


class CircuitOpenFailure(TransientFailure):
    """The upstream failed so often that it is left alone for a while."""

    retryable = False
    counts_against_circuit = False


class OverloadedFailure(Failure):
    """There is no room now. It says nothing against the upstream's health."""

    failure_class = "overloaded"
    retryable = True


class RejectedFailure(Failure):
    """The upstream refused us; it will refuse the same request again."""

    failure_class = "rejected"


class BadRequestFailure(RejectedFailure):
    """The upstream refused the request itself. It is the caller's, and going from door to door with it would only hide that."""

    another_may_speak = False


class InvalidFailure(Failure):
    """What came is no answer in the protocol."""

    failure_class = "invalid"
    counts_against_circuit = True


class CutFailure(Failure):
    """It broke off after its first delta: a part has been said already, so it cannot be tried again."""

    failure_class = "cut"
    another_may_speak = False
    counts_against_circuit = True


class OutOfTimeCutFailure(CutFailure):
    """The caller's time was up in the middle of the reply, which says nothing against the upstream."""

    counts_against_circuit = False


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
    OutOfTimeFailure: UpstreamTimeoutError,
    CircuitOpenFailure: UpstreamUnavailableError,
    OverloadedFailure: UpstreamOverloadedError,
    RejectedFailure: UpstreamRejectedError,
    BadRequestFailure: UpstreamRejectedError,
    InvalidFailure: UpstreamInvalidError,
    CutFailure: GenerationCutError,
    OutOfTimeCutFailure: GenerationCutError,
}

# Where the upstream gave no delay of its own.
DEFAULT_RETRY_AFTER_S = 1.0


def to_error(failure: Failure) -> LimbicError:
    """Return what a client is told of a failure."""
    error = _ERRORS[type(failure)]
    retry_after = failure.retry_after
    if retry_after is None and error in (UpstreamUnavailableError, UpstreamOverloadedError):
        retry_after = DEFAULT_RETRY_AFTER_S
    return error(
        f"the language model ({failure.upstream}): {failure.detail}",
        retry_after=retry_after,
        failureClass=failure.failure_class,
        failureKind=failure.kind,
        upstream=failure.upstream,
    )


def most_hopeful(failures: Sequence[Failure]) -> Failure:
    """Return the failure to tell of where several upstreams failed: one that can pass before one that cannot, else the first.

    A caller who is told of a wrong key gives up; where the other upstream had no room for a moment, it should come again. The shortest
    of the delays that were asked for is told with it.
    """
    passing = [failure for failure in failures if isinstance(failure, TransientFailure | OverloadedFailure)]
    told = passing[0] if passing else failures[0]
    told.retry_after = min(
        (one.retry_after for one in passing if one.retry_after is not None), default=told.retry_after
    )
    return told
