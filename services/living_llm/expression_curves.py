"""What each level alone does to each sampling parameter: what a plot and a table of expression.toml show. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from services.living_llm.expression import Band, Expression, Level, Wishes, sampling
from services.living_llm.expression_table import HORMONES, ExpressionTable, Parameter, SamplingTable

BASELINE = 50.0
"""Where the curves put every baseline. It makes no difference: an effect follows the distance from it."""


@dataclass(frozen=True, slots=True)
class Curves:
    """One sampling parameter.

    Attributes:
        name: as in the protocol.
        base: its value at rest.
        low, high: where it is clamped.
        by_hormone: for each hormone, its values while that one moves and the others are at rest.
    """

    name: str
    base: float
    low: float
    high: float
    by_hormone: Mapping[str, Sequence[float]]


def curves(table: ExpressionTable, distances: Sequence[float]) -> list[Curves]:
    """Return the curves of all sampling parameters, at these points from a level's baseline, −50 to 50.

    The style is the one with the highest ceiling, so that what is seen of the length is what the levels do to it.
    """
    style = max(table.styles, key=lambda name: table.styles[name].max_tokens)

    def at(hormone: str, distance: float) -> Expression:
        return Expression((Level(hormone, BASELINE + distance, BASELINE, Band.STEADY),), style=style)

    sampled = {
        hormone: [sampling(table, at(hormone, distance), Wishes()) for distance in distances] for hormone in HORMONES
    }
    found = []
    for name in SamplingTable.model_fields:
        parameter: Parameter = getattr(table.sampling, name)
        by_hormone = {hormone: [float(getattr(one, name)) for one in each] for hormone, each in sampled.items()}
        found.append(Curves(name, parameter.base, parameter.low, parameter.high, by_hormone))
    return found


def effects_table(table: ExpressionTable) -> list[str]:
    """Return the lines of a Markdown table: each parameter at rest, its bounds, and what it is at either end of each level's effect."""
    lines = [f"| | at rest | bounds | {' | '.join(HORMONES)} |", f"|---|---:|---|{'---|' * len(HORMONES)}"]
    for one in curves(table, [-table.full_distance, table.full_distance]):
        cells = []
        for low, high in one.by_hormone.values():
            cells.append("" if low == high else f"{_shown(low)} … {_shown(high)}")
        bounds = f"{_shown(one.low)} … {_shown(one.high)}"
        lines.append(f"| {one.name} | {_shown(one.base)} | {bounds} | {' | '.join(cells)} |")
    return lines


def _shown(value: float) -> str:
    return f"{value:g}".replace("-", "−")
