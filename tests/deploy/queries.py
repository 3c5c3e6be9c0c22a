"""Every query that we ship, and what it is made of."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import promql_parser as promql
import yaml

from tools.discovery import ROOT

DASHBOARDS = sorted((ROOT / "deploy" / "grafana" / "dashboards").glob("*.json"))
PROMETHEUS = ROOT / "deploy" / "prometheus"
RULES = sorted((PROMETHEUS / "rules").glob("*.yml"))
RUNBOOK = ROOT / "docs" / "runbook.md"


@dataclass(frozen=True, slots=True)
class Query:
    """One expression and where it stands, for the one who reads a failure."""

    where: str
    expr: str


@dataclass(frozen=True, slots=True)
class Selector:
    """One metric in an expression, with its matchers: a label, and the value or pattern that it is compared with."""

    name: str
    matchers: tuple[tuple[str, str], ...]


def panels(path: Path) -> list[dict[str, Any]]:
    """Return a dashboard's panels that show something."""
    everything = json.loads(path.read_text("utf-8"))["panels"]
    return [panel for panel in everything if panel["type"] != "row"]


def panel_queries() -> Iterator[Query]:
    """Yield every query of every dashboard."""
    for path in DASHBOARDS:
        for panel in panels(path):
            for target in panel["targets"]:
                yield Query(f"{path.stem}: {panel['title']} ({target['refId']})", target["expr"])


def rules() -> Iterator[dict[str, Any]]:
    """Yield every rule, recording and alerting."""
    for path in RULES:
        for group in yaml.safe_load(path.read_text("utf-8"))["groups"]:
            yield from group["rules"]


def alerts() -> list[dict[str, Any]]:
    """Return the alerting rules."""
    return [rule for rule in rules() if "alert" in rule]


def recorded() -> list[dict[str, Any]]:
    """Return the recording rules."""
    return [rule for rule in rules() if "record" in rule]


def rule_queries() -> Iterator[Query]:
    """Yield every rule's expression."""
    for rule in rules():
        yield Query(rule.get("alert") or rule["record"], rule["expr"])


def runbook_queries() -> Iterator[Query]:
    """Yield what the runbook tells people to ask."""
    for block in re.findall(r"```promql\n(.*?)```", RUNBOOK.read_text("utf-8"), re.DOTALL):
        yield Query("docs/runbook.md", block.strip())


def filled(expr: str, window: str) -> str:
    """Put a window in the place of Grafana's variables."""
    return expr.replace("$__rate_interval", window).replace("$__range", window)


def selectors(expr: str) -> list[Selector]:
    """Return the metrics in an expression."""
    found = []

    def look(node: promql.Expr) -> bool:
        if isinstance(node, promql.VectorSelector):
            assert node.name, f"a selector without a metric's name in {expr}"
            matchers = tuple((one.name, one.value) for one in node.matchers.matchers)
            found.append(Selector(node.name, matchers))
        return True

    promql.walk(promql.parse(filled(expr, "5m")), look)
    return found


def grouping(expr: str) -> set[str]:
    """Return the labels by which an expression aggregates."""
    found: set[str] = set()

    def look(node: promql.Expr) -> bool:
        if isinstance(node, promql.AggregateExpr) and node.modifier is not None:
            found.update(node.modifier.labels)
        return True

    promql.walk(promql.parse(filled(expr, "5m")), look)
    return found
