"""At which moments a curve is drawn. Pure.

A level jumps when something is said and then relaxes, quickly at first and ever more slowly. So each stretch between two utterances gets
its points closest together at its beginning, and one right before its end, so that the next jump is drawn as one.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from limbic.runtime.clock import NS_PER_S

BUDGET = 600
"""Points of a curve: about one for each pixel that a timeline has."""
MOST_BETWEEN = 24
"""Between two utterances no more than this are told apart."""
_BEFORE_NS = 1_000_000
_FIRST_STEP_NS = NS_PER_S


def moments_of(said_ns: Sequence[int], now_ns: int, budget: int = BUDGET) -> list[int]:
    """Return the moments of a curve, ascending and each once, in nanoseconds.

    Args:
        said_ns: when something was said, ascending; those after `now_ns` are left out.
        now_ns: the curve's end.
        budget: about so many moments; each utterance has two all the same.
    """
    stops = sorted({moment for moment in said_ns if moment < now_ns})
    if not stops:
        return []
    steps = max(1, min(MOST_BETWEEN, budget // len(stops)))
    moments: set[int] = {now_ns}
    for start, end in pairwise([*stops, now_ns]):
        moments.add(start)
        moments.update(_between(start, end, steps))
        if end != now_ns and end - _BEFORE_NS > start:
            moments.add(end - _BEFORE_NS)
    return sorted(moments)


def _between(start: int, end: int, steps: int) -> list[int]:
    span = end - start
    first = min(_FIRST_STEP_NS, span // (steps + 1))
    if first <= 0:
        return []
    growth = (span / first) ** (1 / steps)
    return [start + round(first * growth**step) for step in range(steps) if first * growth**step < span]
