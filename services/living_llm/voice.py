"""One upstream with everything that keeps it honest around it.

From the outside in, and the order is the meaning:

    retries    inside the caller's deadline and the budget, and only until the first delta has come
    circuit    each try asks it, so that a try after the circuit has opened costs nothing
    time       to the first delta, and between two deltas
    upstream   one try

Retries stand outside the circuit, or an outage would be counted once a request instead of once a try; the time limits stand inside
the retries, or a hung first try would use up the time of the second.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing, contextmanager
from dataclasses import dataclass, replace

from limbic.runtime.clock import Clock
from limbic.runtime.deadline import Deadline
from limbic.runtime.metrics import at_zero
from limbic.runtime.tracing import TimedSpan, add_children
from services.living_llm.breaker import CircuitBreaker, CircuitState
from services.living_llm.failures import (
    CutFailure,
    Failure,
    OutOfTimeCutFailure,
    OutOfTimeFailure,
    PromptTooLongError,
    TimeoutFailure,
    TransientFailure,
)
from services.living_llm.metrics import ATTEMPTS, OUTCOMES
from services.living_llm.retry import Retries
from services.living_llm.speech import Delta, Finished, FinishReason, Speech, Started, UpstreamEvent
from services.living_llm.upstream import Description, Upstream


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try at an upstream.

    Attributes:
        upstream: its name.
        duration_s: how long the try took.
        failure_class: empty if it succeeded.
        detail: what happened, in a few words of ours.
        backoff_s: how long was waited before it.
    """

    upstream: str
    duration_s: float
    failure_class: str
    detail: str
    backoff_s: float


@dataclass(frozen=True, slots=True)
class Opened:
    """A try that has brought its first delta, or has ended properly without one."""

    events: AsyncGenerator[UpstreamEvent]
    started: Started
    first: Delta | Finished
    began: float
    waited: float


class Voice:
    """Speaks through one upstream.

    Args:
        upstream: what speaks.
        retries: when a try is made again.
        breaker: when no try is made.
        first_delta_timeout_s: from a try's beginning to its first delta.
        idle_timeout_s: between two deltas.
        clock: tells the time.
    """

    def __init__(
        self,
        upstream: Upstream,
        retries: Retries,
        breaker: CircuitBreaker,
        *,
        first_delta_timeout_s: float,
        idle_timeout_s: float,
        clock: Clock,
    ) -> None:
        self._upstream = upstream
        self._retries = retries
        self._breaker = breaker
        self._first_delta_timeout_s = first_delta_timeout_s
        self._idle_timeout_s = idle_timeout_s
        self._clock = clock
        at_zero(ATTEMPTS, upstream=[upstream.name], outcome=OUTCOMES)

    @property
    def name(self) -> str:
        """The upstream's name."""
        return self._upstream.name

    @property
    def circuit(self) -> CircuitState:
        """Whether requests pass."""
        return self._breaker.state

    async def describe(self) -> Description:
        """Say which model speaks."""
        return await self._upstream.describe()

    async def check(self, speech: Speech) -> None:
        """Raise what no try could mend.

        Raises:
            PromptTooLongError: persona and last message do not fit the window.
            Failure: that cannot be told.
        """
        await self._upstream.check(speech)

    async def open(
        self, speech: Speech, deadline: Deadline, attempts: list[Attempt], *, another_speaks: bool = False
    ) -> Opened:
        """Try until the first delta has come. What was opened is to be told to its end, or its events to be closed.

        Args:
            speech: what to answer.
            deadline: for the first delta, all tries together.
            attempts: gets an entry for each try that failed.
            another_speaks: whether an upstream stands behind this one.

        Raises:
            Failure: no reply could be had.
            PromptTooLongError: persona and last message do not fit the window.
        """
        with self._named():
            return await self._retries.call(
                lambda waited: self._try(speech, deadline, waited, attempts), deadline, another_speaks=another_speaks
            )

    async def tell(
        self, opened: Opened, deadline: Deadline, attempts: list[Attempt]
    ) -> AsyncGenerator[Started | Delta | Finished]:
        """Pass on what was opened, to its end. Closing the generator cancels the upstream.

        Raises:
            CutFailure: not all of it came.
        """
        event: UpstreamEvent = opened.first
        async with aclosing(opened.events):
            with self._named(), self._reported():
                yield opened.started
                while not isinstance(event, Finished):
                    yield event
                    event = await self._next(opened.events, deadline)
                self._report("ok", self._breaker.succeeded)
        attempts.append(self._attempt(opened.began, opened.waited))
        yield event

    async def _try(self, speech: Speech, deadline: Deadline, waited: float, attempts: list[Attempt]) -> Opened:
        self._breaker.admit()
        began = self._clock.monotonic()
        events = self._upstream.generate(speech)
        try:
            with self._reported():
                started, first = await self._first(events, deadline)
        except BaseException as error:
            await events.aclose()
            if isinstance(error, Failure):
                attempts.append(self._attempt(began, waited, error))
            raise
        return Opened(events, started, first, began, waited)

    @contextmanager
    def _named(self) -> Iterator[None]:
        try:
            yield
        except Failure as failure:
            failure.upstream = self.name
            raise

    @contextmanager
    def _reported(self) -> Iterator[None]:
        """Report to circuit and counter how a try failed, if it does."""
        try:
            yield
        except Failure as failure:
            ill = failure.counts_against_circuit
            self._report(failure.failure_class, self._breaker.failed if ill else self._breaker.abandoned)
            raise
        except PromptTooLongError:
            self._report("too_long", self._breaker.abandoned)
            raise
        except BaseException:
            # The caller went away, or it is a fault of ours: nothing was learned of the upstream.
            self._report("cancelled", self._breaker.abandoned)
            raise

    def _report(self, outcome: str, report: Callable[[], None]) -> None:
        ATTEMPTS.labels(self.name, outcome).inc()
        report()

    async def _first(
        self, events: AsyncGenerator[UpstreamEvent], deadline: Deadline
    ) -> tuple[Started, Delta | Finished]:
        allowed = deadline.budget(self._first_delta_timeout_s)
        failure = TimeoutFailure if allowed == self._first_delta_timeout_s else OutOfTimeFailure
        try:
            async with asyncio.timeout(allowed):
                started, first = await anext(events), await anext(events)
        except TimeoutError:
            raise failure("first_delta_timeout", f"no words came within {allowed:.1f} s") from None
        except StopAsyncIteration:
            raise _ended_early() from None
        assert isinstance(started, Started)
        assert not isinstance(first, Started)
        # At its ceiling, or stopped by a filter, a model may rightly have said nothing; of its own will it may not.
        if isinstance(first, Finished) and first.reason is FinishReason.STOP:
            raise _ended_early()
        return started, first

    async def _next(self, events: AsyncGenerator[UpstreamEvent], deadline: Deadline) -> UpstreamEvent:
        try:
            async with asyncio.timeout(deadline.budget(self._idle_timeout_s)):
                return await anext(events)
        except TimeoutError:
            if deadline.remaining() == 0:
                raise OutOfTimeCutFailure("deadline", "the time was up in the middle of the reply") from None
            raise CutFailure("idle_timeout", "the words stopped coming in the middle of the reply") from None
        except StopAsyncIteration:
            raise CutFailure("broken_off", "the reply broke off in the middle") from None
        except Failure as failure:
            raise CutFailure(failure.kind, f"the reply broke off in the middle: {failure.detail}") from failure

    def _attempt(self, began: float, waited: float, failure: Failure | None = None) -> Attempt:
        took = self._clock.monotonic() - began
        attempt = Attempt(self.name, took, "", "", waited)
        if failure is not None:
            attempt = replace(attempt, failure_class=failure.failure_class, detail=failure.detail)
        end_ns = self._clock.now_ns()
        attributes = {"limbic.upstream": self.name, "limbic.failure_class": attempt.failure_class}
        add_children([TimedSpan("attempt", end_ns - round(took * 1e9), end_ns, failure is not None, attributes)])
        return attempt


def _ended_early() -> Failure:
    return TransientFailure("empty_stream", "it ended before its first word")
