"""A result, and a comparison of two, as Markdown and as one HTML page that needs nothing beside it. Pure."""

from __future__ import annotations

import base64
import html
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from limbic.probes.compare import Comparison
from limbic.probes.levels import AXES
from limbic.probes.result import Result

MOST_MISSES = 200

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem; color: #222; }
table { border-collapse: collapse; margin: 1rem 0; font-size: 14px; }
th, td { border-bottom: 1px solid #ddd; padding: .25rem .7rem; text-align: left; vertical-align: top; }
.failed, .worse { color: #b00020; font-weight: 600; } .passed { color: #1b7a2f; }
img { max-width: 100%; }
"""


@dataclass(frozen=True, slots=True)
class Table:
    """A table under a heading. An empty one says what its being empty means."""

    heading: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    empty: str = ""


def tables_of(result: Result) -> list[Table]:
    """Return what a report holds, in order."""
    running = [(key.replace("_", " "), str(value)) for key, value in asdict(result.running).items() if value != ""]
    gates = [
        (
            verdict.gate.measure,
            number(verdict.value),
            "" if verdict.gate.least is None else number(verdict.gate.least),
            "" if verdict.gate.most is None else number(verdict.gate.most),
            "passed" if verdict.passed else "failed",
        )
        for verdict in result.verdicts
    ]
    gated = {verdict.gate.measure for verdict in result.verdicts}
    others = [(name, number(value)) for name, value in result.figures.items() if name not in gated]
    shown = result.misses[:MOST_MISSES]
    misses = [(miss.address, miss.where, str(miss.turn or ""), miss.what) for miss in shown]
    left = len(result.misses) - len(shown)
    if left:
        misses.append(("", "", "", f"and {left} more in the JSON"))
    return [
        Table("What was running", ("", ""), running),
        Table("Gates", ("figure", "value", "at least", "at most", ""), gates),
        Table("Other figures", ("figure", "value"), others),
        Table("What did not come true", ("whose", "where", "turn", "what"), misses, "Everything came true."),
        *_of_suite(result),
    ]


def markdown(result: Result, plot: str = "") -> str:
    """Return the report. `plot`: the plot's file, beside the report's; empty for none."""
    picture = f"![{result.suite}]({plot})\n" if plot else ""
    parts = [f"# {result.suite}: {_outcome(result)}\n", f"{_when(result)}\n", picture]
    parts += [_markdown_table(table) for table in tables_of(result)]
    return "\n".join(part for part in parts if part)


def html_page(result: Result, png: bytes = b"") -> str:
    """Return the report as a page. `png`: its plot."""
    picture = f'<img alt="{result.suite}" src="data:image/png;base64,{base64.b64encode(png).decode()}">' if png else ""
    outcome = f'<span class="{_outcome(result)}">{_outcome(result)}</span>'
    body = [f"<h1>{html.escape(result.suite)}: {outcome}</h1>", f"<p>{html.escape(_when(result))}</p>", picture]
    return _page(result.suite, body, tables_of(result))


def comparison_tables(found: Comparison) -> list[Table]:
    """Return what a comparison holds, in order."""
    figures = [
        (
            one.measure,
            number(one.before),
            number(one.after),
            signed(one.after - one.before),
            "worse" if one.worse else "",
        )
        for one in found.figures
    ]
    return [
        Table("What was running otherwise", ("", "before", "after"), found.running, "The same was running."),
        Table("Figures", ("figure", "before", "after", "difference", ""), figures),
        Table("New misses", ("whose", "where", "turn", "what"), _misses(found.new), "None."),
        Table("Misses that are gone", ("whose", "where", "turn", "what"), _misses(found.mended), "None."),
    ]


def comparison_markdown(found: Comparison) -> str:
    """Return a comparison's report."""
    head = f"# {found.suite}: {'worse' if found.is_worse else 'no worse'}\n"
    return "\n".join([head, *(_markdown_table(table) for table in comparison_tables(found))])


def comparison_page(found: Comparison) -> str:
    """Return a comparison's report as a page."""
    outcome = "worse" if found.is_worse else "no worse"
    return _page(found.suite, [f"<h1>{html.escape(found.suite)}: {outcome}</h1>"], comparison_tables(found))


def number(value: float) -> str:
    """Return a figure with as many digits as it is worth."""
    if math.isnan(value):
        return "–"
    return (
        f"{value:.0f}"
        if value == round(value) and abs(value) < 1e6
        else f"{value:.3f}"
        if abs(value) < 10
        else f"{value:.1f}"
    )


def signed(value: float) -> str:
    """Return a difference."""
    return "–" if math.isnan(value) else f"{value:+.3f}"


def _of_suite(result: Result) -> list[Table]:
    detail = result.detail
    match result.suite:
        case "affect-validation":
            topics = [
                (topic, *(_percent(parts.get(part)) for part in ("head", "engine", "whole")))
                for topic, parts in detail["topics"].items()
            ]
            return [Table("By topic", ("topic", "head", "engine", "whole"), topics), *_told(detail)]
        case "mid-span":
            return [
                Table("Rounds", *_rounds(detail["rounds"])),
                Table("The same rounds, had the head read as a person does", *_rounds(detail["by_a_person"])),
            ]
        case "canary":
            return [
                Table("What was said", ("said", "replied"), [(one["to"], one["reply"]) for one in detail["everyday"]]),
                Table(
                    "The same questions, coloured and not",
                    ("before", "age", "asked", "replied"),
                    [(one["mood"], one["age"], one["question"], one["reply"]) for one in detail["coloured"]],
                ),
            ]
        case _:
            return []


def _rounds(rounds: Sequence[Mapping[str, float | None]]) -> tuple[Sequence[str], Sequence[Sequence[str]]]:
    names = ["figure", *(f"round {index + 1}" for index in range(len(rounds)))]
    return names, [(figure, *(number(_or_nan(one[figure])) for one in rounds)) for figure in rounds[0]]


def _told(detail: Any) -> list[Table]:
    """Return what the head said and what the engine made of it, for every utterance of a conversation."""
    found = []
    for name, one in detail["conversations"].items():
        rows = []
        for index, words in enumerate(one["says"]):
            head = one["head"][index]
            moved = {
                hormone: one["after"][index][hormone] - one["before"][index][hormone] for hormone in one["after"][index]
            }
            rows.append(
                (
                    words,
                    " ".join(_axis(one["reader"][index][axis]) for axis in AXES),
                    "not read" if head is None else " ".join(_axis(head[axis]) for axis in AXES),
                    " ".join(f"{hormone[:3]} {value:+.1f}" for hormone, value in moved.items()),
                    " ".join(f"{hormone[:3]} {value:+.1f}" for hormone, value in one["after"][index].items()),
                )
            )
        columns = ("said", "a person reads (v i t)", "the head said", "the words moved", "from the baseline")
        found.append(Table(f"Conversation {name}", columns, rows))
    return found


def _misses(misses: Iterable[Any]) -> list[tuple[str, str, str, str]]:
    return [(miss.address, miss.where, str(miss.turn or ""), miss.what) for miss in misses]


def _outcome(result: Result) -> str:
    return "passed" if result.passed else "failed"


def _when(result: Result) -> str:
    return f"{result.started_at}, {result.duration_s:.0f} s, seed {result.running.seed}"


def _axis(value: float | None) -> str:
    return "?" if value is None else f"{value:+.2f}"


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{share:.0%}"


def _or_nan(value: float | None) -> float:
    return math.nan if value is None else value


def _markdown_table(table: Table) -> str:
    if not table.rows:
        return f"## {table.heading}\n\n{table.empty}\n" if table.empty else ""
    lines = [table.columns, ["---"] * len(table.columns), *table.rows]
    body = "\n".join("| " + " | ".join(_markdown_cell(cell) for cell in line) + " |" for line in lines)
    return f"## {table.heading}\n\n{body}\n"


def _markdown_cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _page(title: str, body: Sequence[str], tables: Sequence[Table]) -> str:
    parts = [
        "<!doctype html>",
        f'<html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title><style>{_STYLE}</style></head><body>',
        *body,
        *(_html_table(table) for table in tables),
        "</body></html>",
    ]
    return "\n".join(part for part in parts if part) + "\n"


def _html_table(table: Table) -> str:
    heading = f"<h2>{html.escape(table.heading)}</h2>"
    if not table.rows:
        return f"{heading}\n<p>{html.escape(table.empty)}</p>" if table.empty else ""
    head = "".join(f"<th>{html.escape(column)}</th>" for column in table.columns)
    rows = "\n".join(
        "<tr>" + "".join(f'<td class="{_class(cell)}">{html.escape(cell)}</td>' for cell in row) + "</tr>"
        for row in table.rows
    )
    return f"{heading}\n<table><tr>{head}</tr>\n{rows}</table>"


def _class(cell: str) -> str:
    return cell if cell in ("failed", "passed", "worse") else ""
