"""A circuit breaker: an upstream that failed several times in a row is left alone for a while, then probed with one request."""

from __future__ import annotations

from enum import StrEnum

from limbic.runtime.clock import Clock
from services.living_llm.failures import CircuitOpenFailure
from services.living_llm.metrics import CIRCUIT_OPEN


class CircuitState(StrEnum):
    """Whether requests pass."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class CircuitBreaker:
    """Guards one upstream. For one event loop.

    Args:
        upstream: its name, for the metric.
        failures: failures in a row that open the circuit.
        open_s: seconds until a probe may pass.
        clock: tells the time.
    """

    def __init__(self, upstream: str, *, failures: int, open_s: float, clock: Clock) -> None:
        self._limit = failures
        self._open_s = open_s
        self._clock = clock
        self._in_a_row = 0
        self._opened_at: float | None = None
        self._probing = False
        self._gauge = CIRCUIT_OPEN.labels(upstream)
        self._gauge.set(0)

    @property
    def state(self) -> CircuitState:
        """Closed, open, or half-open once a probe may pass."""
        if self._opened_at is None:
            return CircuitState.CLOSED
        return CircuitState.HALF_OPEN if self._wait() == 0 else CircuitState.OPEN

    def admit(self) -> None:
        """Let a request through. Each one that is let through is followed by one of the three reports.

        Raises:
            CircuitOpenFailure: not now.
        """
        if self._opened_at is None:
            return
        wait = self._wait()
        if wait > 0 or self._probing:
            raise CircuitOpenFailure(
                "circuit_open",
                "it failed several times in a row and is left alone for a moment",
                retry_after=wait or self._open_s,
            )
        self._probing = True

    def succeeded(self) -> None:
        """Report that a request was answered."""
        self._in_a_row = 0
        self._opened_at = None
        self._probing = False
        self._gauge.set(0)

    def failed(self) -> None:
        """Report a failure that says the upstream is ill."""
        self._in_a_row += 1
        if self._probing or self._in_a_row >= self._limit:
            self._opened_at = self._clock.monotonic()
            self._gauge.set(1)
        self._probing = False

    def abandoned(self) -> None:
        """Report that nothing was learned: the caller went away, or the failure was not the upstream's."""
        self._probing = False

    def _wait(self) -> float:
        assert self._opened_at is not None
        return max(0.0, self._opened_at + self._open_s - self._clock.monotonic())
