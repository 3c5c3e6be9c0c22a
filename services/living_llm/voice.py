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
from dataclasses import dataclass

from limbic.runtime.clock import Clock
from limbic.runtime.deadline import Deadline
from services.living_llm.breaker import CircuitBreaker, CircuitState
from services.living_llm.failures import CutFailure, Failure, PromptTooLongError, TimeoutFailure, TransientFailure
from services.living_llm.metrics import ATTEMPTS
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
class Done:
    """The reply is complete, with every try that was made for it."""

    finished: Finished
    attempts: tuple[Attempt, ...]


VoiceEvent = Started | Delta | Done
"""The order is: Started, Delta…, Done."""


@dataclass(frozen=True, slots=True)
class _OpenStream:
    """A try that has brought its first delta, or has ended properly without one."""

    events: AsyncGenerator[UpstreamEvent]
    started: Started
    first: Delta | Finished
    began: float
    waited: float


class Voice:
    """Speaks through an upstream.

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

    async def speak(self, speech: Speech, deadline: Deadline) -> AsyncGenerator[VoiceEvent]:
        """Make a reply. Closing the generator cancels the upstream.

        Raises:
            Failure: no reply could be had, or, a CutFailure, not all of it.
            PromptTooLongError: persona and last message do not fit the window.
        """
        attempts: list[Attempt] = []
        stream = await self._retries.call(lambda waited: self._open(speech, deadline, waited, attempts), deadline)
        event: UpstreamEvent = stream.first
        async with aclosing(stream.events):
            with self._reported():
                yield stream.started
                while not isinstance(event, Finished):
                    yield event
                    event = await self._next(stream.events, deadline)
                self._report("ok", self._breaker.succeeded)
        attempts.append(self._attempt(stream.began, stream.waited))
        yield Done(event, tuple(attempts))

    async def _open(self, speech: Speech, deadline: Deadline, waited: float, attempts: list[Attempt]) -> _OpenStream:
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
        return _OpenStream(events, started, first, began, waited)

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
        try:
            async with asyncio.timeout(allowed):
                started, first = await anext(events), await anext(events)
        except TimeoutError:
            raise TimeoutFailure("first_delta_timeout", f"no words came within {allowed:.1f} s") from None
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
            kind = "deadline" if deadline.remaining() == 0 else "idle_timeout"
            raise CutFailure(kind, "the words stopped coming in the middle of the reply") from None
        except StopAsyncIteration:
            raise CutFailure("broken_off", "the reply broke off in the middle") from None
        except Failure as failure:
            raise CutFailure(failure.kind, f"the reply broke off in the middle: {failure.detail}") from failure

    def _attempt(self, began: float, waited: float, failure: Failure | None = None) -> Attempt:
        took = self._clock.monotonic() - began
        if failure is None:
            return Attempt(self.name, took, "", "", waited)
        return Attempt(self.name, took, failure.failure_class, failure.detail, waited)


def _ended_early() -> Failure:
    return TransientFailure("empty_stream", "it ended before its first word")
