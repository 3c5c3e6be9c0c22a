"""The gates: what a suite's figures must reach. All of them stand in gates.toml."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from limbic.probes.clauses import Margins
from limbic.probes.errors import SuiteError
from limbic.probes.validation import HeadMargins

SUITES = ("affect-validation", "mid-span", "canary", "latency")


@dataclass(frozen=True, slots=True)
class Gate:
    """A limit for one figure; None where a side is open. `worse_by`: what `compare` lets it fall by."""

    measure: str
    least: float | None
    most: float | None
    worse_by: float | None = None

    def passes(self, value: float) -> bool:
        """Tell whether a value is within the limits; what could not be measured (NaN) is not."""
        if math.isnan(value):
            return False
        return (self.least is None or value >= self.least) and (self.most is None or value <= self.most)

    def is_worse(self, value: float, than: float) -> bool:
        """Tell whether a value has moved towards, or beyond, an open limit by more than it may."""
        if self.worse_by is None:
            return False
        falls = than - value if self.least is not None else value - than
        return falls > self.worse_by


@dataclass(frozen=True, slots=True)
class Gates:
    """All gates, and how much is something.

    Attributes:
        by_suite: each suite's gates.
        margins: for the levels.
        head: for the axes.
        rounds: of mid-span, all of which must pass, one after the other.
    """

    by_suite: Mapping[str, tuple[Gate, ...]]
    margins: Margins
    head: HeadMargins
    rounds: int


@dataclass(frozen=True, slots=True)
class Verdict:
    """A gate and what it was given."""

    gate: Gate
    value: float
    passed: bool


def load_gates(path: Path | None = None) -> Gates:
    """Read the gates.

    Args:
        path: a file of your own; None for the one that is shipped.

    Raises:
        SuiteError: the file cannot be used.
    """
    name = str(path or "gates.toml")
    try:
        text = path.read_text("utf-8") if path else resources.files("limbic.probes").joinpath(name).read_text("utf-8")
        return parse_gates(text)
    except (OSError, UnicodeDecodeError) as error:
        raise SuiteError(f"{name} cannot be read: {error}") from None
    except SuiteError as error:
        raise SuiteError(f"{name}: {error}") from None


def parse_gates(text: str) -> Gates:
    """Read gates.

    Raises:
        SuiteError: the text is no TOML, holds an unknown key, or a gate without a limit.
    """
    try:
        content: dict[str, Any] = tomllib.loads(text)
        margins = Margins(**content.pop("margins"))
        head = HeadMargins(**content.pop("head"))
        rounds = int(content.pop("rounds"))
    except tomllib.TOMLDecodeError as error:
        raise SuiteError(f"no TOML: {error}") from None
    except KeyError as error:
        raise SuiteError(f"{error.args[0]} is missing") from None
    except TypeError as error:
        raise SuiteError(f"margins or head: {error}") from None
    if unknown := set(content) - set(SUITES):
        raise SuiteError(f"unknown: {', '.join(sorted(unknown))}")
    if rounds < 1:
        raise SuiteError("rounds must be at least 1")
    return Gates({suite: tuple(_gates(content.get(suite, {}))) for suite in SUITES}, margins, head, rounds)


def verdicts(gates: tuple[Gate, ...], figures: Mapping[str, float]) -> tuple[Verdict, ...]:
    """Hold figures against gates; a figure that is missing does not pass."""
    found = []
    for gate in gates:
        value = figures.get(gate.measure, math.nan)
        found.append(Verdict(gate, value, gate.passes(value)))
    return tuple(found)


def _gates(entries: dict[str, Any]) -> list[Gate]:
    found = []
    for measure, limits in entries.items():
        if not isinstance(limits, dict) or not {"min", "max"} & set(limits) or set(limits) - {"min", "max", "worse_by"}:
            raise SuiteError(f"{measure!r} needs min or max, and may have worse_by")
        found.append(Gate(measure, limits.get("min"), limits.get("max"), limits.get("worse_by")))
    return found
