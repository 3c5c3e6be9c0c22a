from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from limbic.runtime.deadline import Deadline
from services.living_llm.breaker import CircuitBreaker, CircuitState
from services.living_llm.budget import WINDOW_S, RetryBudget
from services.living_llm.failures import (
    CircuitOpenFailure,
    CutFailure,
    Failure,
    InvalidFailure,
    OverloadedFailure,
    RejectedFailure,
    TimeoutFailure,
    TransientFailure,
)
from services.living_llm.retry import Retries, RetryPolicy
from tests.living_llm.service import SetClock

POLICY = RetryPolicy(attempts=4, initial_s=0.2, max_s=5.0)


class Harness:
    """Retries that do not wait, and an attempt that fails as it is told."""

    def __init__(self, failures: list[Failure], policy: RetryPolicy = POLICY, floor: float = 100.0) -> None:
        self.failures = failures
        self.slept: list[float] = []
        self.told: list[float] = []
        self.budget = RetryBudget(ratio=0.2, floor=floor, clock=SetClock())
        self.retries = Retries(policy, self.budget, sleep=self._sleep)

    async def _sleep(self, seconds: float) -> None:
        self.slept.append(seconds)

    async def _attempt(self, waited: float) -> str:
        self.told.append(waited)
        if self.failures:
            raise self.failures.pop(0)
        return "reply"

    async def call(self, deadline_s: float = 60.0) -> str:
        return await self.retries.call(self._attempt, Deadline.after(deadline_s))


def transient(retry_after: float | None = None) -> TransientFailure:
    return TransientFailure("status_503", "down", retry_after=retry_after)


async def test_each_try_is_told_how_long_was_waited_before_it() -> None:
    harness = Harness([transient(), transient()])

    assert await harness.call() == "reply"

    assert harness.told == [0.0, *harness.slept]
    assert len(harness.slept) == 2


async def test_the_waits_are_random_below_a_doubling_bound() -> None:
    waits = []
    for _ in range(50):
        harness = Harness([transient()] * 3)
        await harness.call()
        waits.append(harness.slept)

    for position, bound in enumerate((0.2, 0.4, 0.8)):
        column = [row[position] for row in waits]
        assert all(0.0 <= wait <= bound for wait in column)
        # Full jitter reaches from next to nothing to the bound.
        assert min(column) < 0.5 * bound < max(column)


async def test_the_tries_are_limited_and_the_last_failure_is_raised_as_it_is() -> None:
    failures: list[Failure] = [transient(), transient(), transient(), OverloadedFailure("status_429", "full")]
    harness = Harness([*failures])

    with pytest.raises(OverloadedFailure) as caught:
        await harness.call()

    assert caught.value is failures[-1]
    assert len(harness.told) == 4


@pytest.mark.parametrize(
    "failure_class", [RejectedFailure, InvalidFailure, CutFailure, TimeoutFailure, CircuitOpenFailure]
)
async def test_what_cannot_pass_is_not_tried_again(failure_class: type[Failure]) -> None:
    harness = Harness([failure_class("kind", "detail")])

    with pytest.raises(failure_class):
        await harness.call()

    assert len(harness.told) == 1


async def test_a_fault_of_ours_is_not_tried_again() -> None:
    calls = 0

    async def attempt(waited: float) -> str:
        nonlocal calls
        calls += 1
        raise KeyError("ours")

    with pytest.raises(KeyError):
        await Harness([]).retries.call(attempt, Deadline.after(60.0))

    assert calls == 1


async def test_retry_after_is_the_least_wait() -> None:
    harness = Harness([transient(retry_after=7.0)])

    await harness.call()

    assert harness.slept == [7.0]


async def test_no_wait_is_begun_that_would_end_after_the_deadline() -> None:
    harness = Harness([transient(retry_after=7.0)])

    with pytest.raises(TransientFailure):
        await harness.call(deadline_s=6.0)

    assert harness.slept == []
    assert len(harness.told) == 1


async def test_without_a_budget_nothing_is_tried_again_and_nothing_is_charged_in_vain() -> None:
    harness = Harness([transient()] * 10, floor=2.0)

    for _ in range(2):
        with pytest.raises(TransientFailure):
            await harness.call(deadline_s=0.0)
    with pytest.raises(TransientFailure):
        await harness.call()

    # The calls without time left the budget alone; the last one spent both retries of it.
    assert len(harness.told) == 2 + 3


class TestBudget:
    """The retry budget."""

    @given(st.lists(st.sampled_from(["success", "retry"]), max_size=200))
    def test_retries_never_exceed_the_floor_and_the_share_of_successes(self, events: list[str]) -> None:
        budget = RetryBudget(ratio=0.2, floor=3.0, clock=SetClock())
        successes = retries = 0
        for event in events:
            if event == "success":
                budget.deposit()
                successes += 1
            elif budget.withdraw():
                retries += 1
            assert retries <= 3.0 + 0.2 * successes + 1e-9

    def test_a_window_later_everything_is_forgotten(self) -> None:
        clock = SetClock()
        budget = RetryBudget(ratio=0.2, floor=1.0, clock=clock)

        assert [budget.withdraw(), budget.withdraw()] == [True, False]
        clock.at += WINDOW_S

        assert [budget.withdraw(), budget.withdraw()] == [True, False]


class TestBreaker:
    """The circuit breaker."""

    def make(self) -> tuple[CircuitBreaker, SetClock]:
        clock = SetClock()
        return CircuitBreaker("test", failures=3, open_s=5.0, clock=clock), clock

    def fail(self, breaker: CircuitBreaker, times: int) -> None:
        for _ in range(times):
            breaker.admit()
            breaker.failed()

    def test_it_opens_after_failures_in_a_row_only(self) -> None:
        breaker, _ = self.make()

        self.fail(breaker, 2)
        breaker.admit()
        breaker.succeeded()
        self.fail(breaker, 2)

        states = [breaker.state]
        self.fail(breaker, 1)
        states.append(breaker.state)

        assert states == [CircuitState.CLOSED, CircuitState.OPEN]

    def test_while_open_it_refuses_and_says_for_how_long(self) -> None:
        breaker, clock = self.make()
        self.fail(breaker, 3)
        clock.at += 2.0

        with pytest.raises(CircuitOpenFailure) as caught:
            breaker.admit()

        assert caught.value.retry_after == pytest.approx(3.0)

    @pytest.mark.parametrize(
        ("report", "state"),
        [
            (CircuitBreaker.succeeded, CircuitState.CLOSED),
            (CircuitBreaker.failed, CircuitState.OPEN),
            (CircuitBreaker.abandoned, CircuitState.HALF_OPEN),
        ],
    )
    def test_one_probe_decides(self, report: Callable[[CircuitBreaker], None], state: CircuitState) -> None:
        breaker, clock = self.make()
        self.fail(breaker, 3)
        clock.at += 5.0

        assert breaker.state is CircuitState.HALF_OPEN
        breaker.admit()
        with pytest.raises(CircuitOpenFailure):
            breaker.admit()
        report(breaker)

        assert breaker.state is state
