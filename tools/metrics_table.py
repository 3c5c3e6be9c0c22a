"""Makes docs/metrics.md: every metric that our processes have, from the objects that count."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from types import ModuleType

from prometheus_client import Counter, Gauge, Histogram, Info
from prometheus_client.metrics import MetricWrapperBase

from tools.discovery import EVERY, modules_with, process_of

_KINDS = {kind.__name__ for kind in (Counter, Gauge, Histogram, Info)}
_SUFFIXES = {"counter": ("_total",), "gauge": ("",), "histogram": ("_bucket", "_sum", "_count"), "info": ("_info",)}

LIBRARY = {
    "process_cpu_seconds_total": "Processor time that the process has taken.",
    "process_max_fds": "Files and connections that it may have open.",
    "process_open_fds": "Files and connections that it has open.",
    "process_resident_memory_bytes": "Its resident memory.",
    "process_start_time_seconds": "When it was started, since the epoch.",
    "process_virtual_memory_bytes": "Its address space.",
}
"""What prometheus_client itself adds to each process and our rules and dashboards use; besides these there are `python_*`."""

_HEAD = """\
# Metrics

Made from the code by `make docs`. Every process serves them at its own address ([operations.md](operations.md#addresses)), as text or as
OpenMetrics; only the latter holds exemplars: the trace id of single turns on the gateway's histograms of turns.

Units are seconds and bytes. No label holds a session, a person or words. A counter whose label values are known beforehand is there from
the start, at zero: a series that came with its first event would hide that event from `rate` and `increase`.

What the numbers are held against stands in [deploy/objectives.toml](../deploy/objectives.toml), the alerts in the [runbook](runbook.md).
"""


@dataclass(frozen=True, slots=True)
class Described:
    """One metric.

    Attributes:
        name: as in the exposition, without the suffixes of a histogram.
        kind: counter, gauge, histogram or info.
        labels: its labels' names.
        meaning: its own words.
        process: which process has it, or `all`.
    """

    name: str
    kind: str
    labels: tuple[str, ...]
    meaning: str
    process: str

    @property
    def series(self) -> frozenset[str]:
        """The names under which Prometheus stores it."""
        base = self.name.removesuffix(_SUFFIXES[self.kind][0]) if self.kind in ("counter", "info") else self.name
        return frozenset(base + suffix for suffix in _SUFFIXES[self.kind])


@cache
def metrics() -> tuple[Described, ...]:
    """Return every metric of ours, by process and name."""
    found = {
        described.name: described for module in modules_with(_defines_a_metric) for described in _described(module)
    }
    return tuple(sorted(found.values(), key=lambda one: (one.process != EVERY, one.process, one.name)))


def metrics_document() -> str:
    """Return docs/metrics.md."""
    parts, known = [_HEAD], metrics()
    for process in dict.fromkeys(one.process for one in known):
        parts.append(f"## {'All four processes' if process == EVERY else process}\n")
        parts.append("| metric | kind | labels | meaning |\n|---|---|---|---|")
        for one in known:
            if one.process == process:
                labels = ", ".join(f"`{label}`" for label in one.labels)
                parts.append(f"| `{one.name}` | {one.kind} | {labels} | {one.meaning} |")
        if process == EVERY:
            parts += [
                f"| `{name}` | {'counter' if name.endswith('_total') else 'gauge'} |  | {meaning} |"
                for name, meaning in LIBRARY.items()
            ]
        parts.append("")
    return "\n".join(parts)


def _described(module: ModuleType) -> Iterator[Described]:
    for value in vars(module).values():
        # A child that is bound to values of the labels stands beside its parent, which is bound to none.
        if isinstance(value, MetricWrapperBase) and not value._labelvalues:
            kind = str(value._type)
            suffix = {"counter": "_total", "info": "_info"}.get(kind, "")
            labels, meaning = tuple(value._labelnames), " ".join(value._documentation.split())
            yield Described(value._name + suffix, kind, labels, meaning, process_of(module.__name__))


def _defines_a_metric(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id in _KINDS
        and bool(node.args)
        and isinstance(node.args[0], ast.Constant)
        and str(node.args[0].value).startswith("limbic_")
    )
