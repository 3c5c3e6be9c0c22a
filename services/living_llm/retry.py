"""When a try is made again, and after how long: tenacity, with every choice of it made explicitly.

tenacity's own defaults retry for ever, without a pause, on any exception, and end in an error of their own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from tenacity import (
    AsyncRetrying,
    RetryCallState,
    retry_if_exception,
    stop_after_attempt,
    wait_random_exponential,
)

from limbic.runtime.deadline import Deadline
from services.living_llm.budget import RetryBudget
from services.living_llm.failures import Failure
from services.living_llm.metrics import RETRIES

T = TypeVar("T")

Sleep = Callable[[float], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often and how patiently.

    Attributes:
        attempts: tries at most, the first included.
        initial_s: upper bound of the first wait; each further bound is twice the one before.
        max_s: upper bound of any wait that the upstream did not ask for.
    """

    attempts: int
    initial_s: float
    max_s: float


class Retries:
    """Makes a try again while that can help, the deadline leaves room for it and the budget pays for it.

    Args:
        policy: how often and how patiently.
        budget: shared by all calls.
        sleep: waits; a test gives one that does not.
    """

    def __init__(self, policy: RetryPolicy, budget: RetryBudget, *, sleep: Sleep = asyncio.sleep) -> None:
        self._policy = policy
        self._budget = budget
        self._sleep = sleep
        self._last = stop_after_attempt(policy.attempts)
        # Full jitter: anything between 0 and the bound, so that callers who failed together do not come back together.
        self._backoff = wait_random_exponential(multiplier=policy.initial_s, max=policy.max_s)

    async def call(
        self, attempt: Callable[[float], Awaitable[T]], deadline: Deadline, *, another_speaks: bool = False
    ) -> T:
        """Make the attempt until it succeeds or another would be pointless; then raise what the last one raised.

        Args:
            attempt: one try; it is told how many seconds were waited before it.
            deadline: no wait is begun that would end after it.
            another_speaks: an upstream stands behind this one. One that says when it will have room again is then not waited for.

        Raises:
            Failure: of the last try.
        """
        waited = 0.0

        def before_sleep(state: RetryCallState) -> None:
            nonlocal waited
            waited = state.upcoming_sleep
            RETRIES.labels(_failure(state).kind).inc()

        async def once() -> T:
            return await attempt(waited)

        retrying = AsyncRetrying(
            retry=retry_if_exception(
                lambda error: (
                    isinstance(error, Failure)
                    and error.retryable
                    and not (another_speaks and error.retry_after is not None)
                )
            ),
            wait=self._wait,
            # In this order: the budget is charged only where everything else agrees to another try.
            stop=lambda state: (
                self._last(state) or state.upcoming_sleep >= deadline.remaining() or not self._budget.withdraw()
            ),
            sleep=self._sleep,
            before_sleep=before_sleep,
            reraise=True,
        )
        result: T = await retrying(once)
        self._budget.deposit()
        return result

    def _wait(self, state: RetryCallState) -> float:
        return max(self._backoff(state), _failure(state).retry_after or 0.0)


def _failure(state: RetryCallState) -> Failure:
    error = state.outcome.exception() if state.outcome is not None else None
    assert isinstance(error, Failure)
    return error
