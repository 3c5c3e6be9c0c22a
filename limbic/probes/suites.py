"""The four suites by name: runs one against a system and returns its result."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from limbic.client import CallError
from limbic.probes import run_canary, run_latency, run_midspan, run_validation
from limbic.probes.baselines import SPOKEN
from limbic.probes.errors import NotProbedError, ProbeError
from limbic.probes.plan import Plan
from limbic.probes.result import Result
from limbic.probes.run import Clocked, Found, Progress, Scope, concluded, suite_sha256
from limbic.probes.system import System

FILES = {
    "affect-validation": run_validation.FILES,
    "mid-span": run_midspan.FILES,
    "canary": run_canary.FILES,
    "latency": run_latency.FILES,
}


async def run_suite(suite: str, plan: Plan, progress: Progress) -> Result:
    """Run a suite.

    Raises:
        CallError: a service cannot be reached, or refused.
        ProbeError: the suite cannot be used, or the system cannot be probed so.
    """
    async with System(plan.targets) as system:
        scope = Scope(system, plan.temperament, plan.seed, keep=plan.keep)
        runs: dict[str, Callable[[], Awaitable[Found]]] = {
            "affect-validation": lambda: run_validation.run_validation(system, scope, plan.gates, progress),
            "mid-span": lambda: run_midspan.run_midspan(system, scope, plan.gates, progress),
            "canary": lambda: run_canary.run_canary(system, scope, plan.models, progress),
            "latency": lambda: run_latency.run_latency(plan.targets, scope, plan.window_s, progress),
        }
        clocked = Clocked()
        try:
            found = await runs[suite]()
        except* (CallError, ProbeError) as group:
            # What went wrong in one of several conversations is what went wrong.
            raise _first(group) from None
        if scope.first is None:
            raise NotProbedError(f"{suite} opened no session")
        running = await system.running(
            scope.first,
            speaks=suite in SPOKEN,
            seed=plan.seed,
            suite_sha256=suite_sha256(FILES[suite], plan.gates_text),
        )
        return concluded(suite, clocked, running, found, plan.gates)


def _first(group: ExceptionGroup[CallError | ProbeError]) -> Exception:
    error: Exception = group
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    return error
