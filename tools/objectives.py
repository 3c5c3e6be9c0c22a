"""What deploy/objectives.toml promises, read and checked."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from limbic.runtime.metrics import LATENCY_BUCKETS

PATH = Path(__file__).resolve().parent.parent / "deploy" / "objectives.toml"


@dataclass(frozen=True, slots=True)
class Burn:
    """How fast a budget may be used up before somebody is told.

    Attributes:
        name: burns of one name make one alert.
        factor: times the rate that uses up the whole budget in exactly one period.
        windows: the long one and the short one, as Prometheus writes durations.
    """

    name: str
    factor: float
    windows: tuple[str, str]


@dataclass(frozen=True, slots=True)
class Objective:
    """One promise.

    Attributes:
        name: the value of the label `objective`.
        title: for people.
        goal: the share of events that is to be good.
        within_s: what a good event takes at most, where that is what makes it good.
        alert: the alert's name.
        page: whether somebody is to be woken for it.
        says: what is promised.
        good: selects the counter of good events.
        events: selects the counter of all events.
    """

    name: str
    title: str
    goal: Decimal
    within_s: float | None
    alert: str
    page: bool
    says: str
    good: str
    events: str

    @property
    def budget(self) -> Decimal:
        """The share of events that may be bad."""
        return 1 - self.goal

    def good_share(self, window: str) -> str:
        """Return the expression of the share of good events within a window."""
        return f"sum(rate({self.good}[{window}])) / sum(rate({self.events}[{window}]))"


@dataclass(frozen=True, slots=True)
class Objectives:
    """All of them.

    Attributes:
        period_days: what a budget is for.
        min_events: fewer in a long window say nothing.
        burns: see `Burn`.
        all: the objectives.
    """

    period_days: int
    min_events: int
    burns: tuple[Burn, ...]
    all: tuple[Objective, ...]

    def __getitem__(self, name: str) -> Objective:
        return next(objective for objective in self.all if objective.name == name)


def load(path: Path = PATH) -> Objectives:
    """Read the file.

    Raises:
        ValueError: what stands there cannot be measured, or an alert could never fire.
    """
    table = tomllib.loads(path.read_text("utf-8"), parse_float=Decimal)
    burns = tuple(Burn(one["name"], float(one["factor"]), (*one["windows"],)) for one in table["burn"])
    objectives = tuple(map(_objective, table["objective"]))
    for objective in objectives:
        for burn in burns:
            if burn.factor * float(objective.budget) >= 1:
                raise ValueError(f"{objective.name}: more than everything would have to be bad to burn {burn.factor} ×")
    return Objectives(table["period_days"], table["min_events"], burns, objectives)


def _objective(table: dict[str, Any]) -> Objective:
    if (histogram := table.pop("histogram", None)) is not None:
        within_s = float(table.pop("within_s"))
        if within_s not in LATENCY_BUCKETS:
            raise ValueError(
                f"{table['name']}: {within_s} s is no edge of a bucket, so nothing counts what is below it"
            )
        return Objective(
            **table, within_s=within_s, good=f'{histogram}_bucket{{le="{within_s}"}}', events=f"{histogram}_count"
        )
    return Objective(**table, within_s=None)
