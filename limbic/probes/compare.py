"""Two results of one suite beside each other: what got better, what got worse, and what was running otherwise. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from limbic.probes.errors import ResultError
from limbic.probes.result import Miss, Result


@dataclass(frozen=True, slots=True)
class Moved:
    """One figure in both. `worse`: it moved towards its gate's limit by more than it may, or fails a gate that it passed."""

    measure: str
    before: float
    after: float
    worse: bool


@dataclass(frozen=True, slots=True)
class Comparison:
    """What differs between two results of one suite.

    Attributes:
        suite: its name.
        running: what was running otherwise: key, before, after.
        figures: all figures that both have.
        mended: misses that are gone.
        new: misses that were not there.
    """

    suite: str
    running: Sequence[tuple[str, str, str]]
    figures: Sequence[Moved]
    mended: Sequence[Miss]
    new: Sequence[Miss]

    @property
    def is_worse(self) -> bool:
        """Whether anything got worse than it may."""
        return any(figure.worse for figure in self.figures)


def compare(before: Result, after: Result) -> Comparison:
    """Compare two results. The gates are those of the later one.

    Raises:
        ResultError: they are of different suites.
    """
    if before.suite != after.suite:
        raise ResultError(
            f"the first is of {before.suite}, the second of {after.suite}: they have no figures in common"
        )
    gates = {verdict.gate.measure: verdict.gate for verdict in after.verdicts}
    figures = []
    for measure, value in after.figures.items():
        if measure not in before.figures:
            continue
        was, gate = before.figures[measure], gates.get(measure)
        fails = gate is not None and gate.passes(was) and not gate.passes(value)
        slid = gate is not None and not math.isnan(value) and not math.isnan(was) and gate.is_worse(value, was)
        figures.append(Moved(measure, was, value, fails or slid))
    old, new = (asdict(result.running) for result in (before, after))
    return Comparison(
        after.suite,
        [(key, str(old[key]), str(new[key])) for key in new if old[key] != new[key]],
        figures,
        [miss for miss in before.misses if miss not in set(after.misses)],
        [miss for miss in after.misses if miss not in set(before.misses)],
    )
