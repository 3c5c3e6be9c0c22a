"""Makes the recording and alerting rules of the objectives: deploy/prometheus/rules/objectives.yml."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from typing import Any

import yaml

from tools.objectives import Burn, Objective, Objectives

RUNBOOK = "docs/runbook.md"

_HEADER = """\
# Made by `make docs` from deploy/objectives.toml; what is changed here by hand, `make lint` refuses.
# limbic:error_ratio:rateW is the share of bad events within W; NaN where there was none, which no comparison finds larger than anything.
"""

_SHORT = ("5m", "30m", "1h")
"""Windows whose rules are computed often; the others move slowly and cost more."""


def objectives_yaml(objectives: Objectives) -> str:
    """Return the file's content."""
    windows = sorted({window for burn in objectives.burns for window in burn.windows}, key=_seconds)
    groups = [
        _recording("limbic-objectives-short", "30s", objectives, [window for window in windows if window in _SHORT]),
        _recording("limbic-objectives-long", "2m", objectives, [window for window in windows if window not in _SHORT]),
        {"name": "limbic-objectives-alerts", "rules": list(_alerts(objectives))},
    ]
    return _HEADER + yaml.dump({"groups": groups}, Dumper=_Dumper, sort_keys=False, width=1_000, allow_unicode=True)


def runbook_url(alert: str) -> str:
    """Return where the runbook explains an alert: a path in the repository."""
    return f"{RUNBOOK}#{alert.lower()}"


def _recording(name: str, interval: str, objectives: Objectives, windows: list[str]) -> dict[str, Any]:
    longs = {burn.windows[0] for burn in objectives.burns}
    rules = [
        {
            "record": f"limbic:error_ratio:rate{window}",
            "expr": f"1 - {objective.good_share(window)}",
            "labels": {"objective": objective.name},
        }
        for window in windows
        for objective in objectives.all
    ]
    rules += [
        {
            "record": f"limbic:events:increase{window}",
            "expr": f"sum(increase({objective.events}[{window}]))",
            "labels": {"objective": objective.name},
        }
        for window in windows
        if window in longs
        for objective in objectives.all
    ]
    return {"name": name, "interval": interval, "rules": rules}


def _alerts(objectives: Objectives) -> Iterator[dict[str, Any]]:
    for objective in objectives.all:
        for name, burns in groupby(objectives.burns, key=lambda burn: burn.name):
            page = objective.page and name == "fast"
            yield {
                "alert": objective.alert,
                "expr": "\nor\n".join(_burning(objectives, objective, burn) for burn in burns),
                "labels": {"severity": "page" if page else "ticket", "objective": objective.name, "burn": name},
                "annotations": {
                    "summary": f"{objective.title}: what may go wrong in {objectives.period_days} days is used up too fast.",
                    "description": f"{objective.says} That is to hold for {objective.goal:%}; "
                    "of late it did not for {{ $value | humanizePercentage }}.",
                    "runbook_url": runbook_url(objective.alert),
                },
            }


def _burning(objectives: Objectives, objective: Objective, burn: Burn) -> str:
    of = f'{{objective="{objective.name}"}}'
    long, short = burn.windows
    limit = f"{burn.factor:g} * {objective.budget}"
    return (
        f"(\n  limbic:error_ratio:rate{long}{of} > {limit}\n"
        f"  and limbic:error_ratio:rate{short}{of} > {limit}\n"
        f"  and limbic:events:increase{long}{of} >= {objectives.min_events}\n)"
    )


def _seconds(duration: str) -> int:
    return int(duration[:-1]) * {"m": 60, "h": 3_600, "d": 86_400}[duration[-1]]


class _Dumper(yaml.SafeDumper):
    """Writes what has several lines as a block, and indents lists."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style="|" if "\n" in value else None)


_Dumper.add_representer(str, _text)
