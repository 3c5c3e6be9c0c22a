"""Writes the probes' figures and plots into docs/ from the committed baselines: `python -m tools.probe_figures`."""

from __future__ import annotations

import re
from pathlib import Path

from limbic.probes.baselines import baseline_of
from limbic.probes.gates import SUITES
from limbic.probes.plots import draw
from limbic.probes.report import number
from limbic.probes.result import Result

ROOT = Path(__file__).parents[1]
PROBES = ROOT / "docs/probes.md"
PLOTS = ROOT / "docs/plots"


def main() -> None:
    """Write the tables between their marks, and a plot for each suite."""
    PROBES.write_text(document_with_figures(PROBES.read_text("utf-8")), "utf-8")
    for suite in SUITES:
        (PLOTS / f"probe-{suite}.png").write_bytes(draw(committed(suite)))


def document_with_figures(document: str) -> str:
    """Return the document with each suite's table as its committed baseline has it."""
    for suite in SUITES:
        marks = f"<!-- figures of {suite} -->", "<!-- end of figures -->"
        pattern = re.compile(re.escape(marks[0]) + r".*?" + re.escape(marks[1]), re.DOTALL)
        if not pattern.search(document):
            raise ValueError(f"{PROBES} has no place for the figures of {suite}")
        before, after = pattern.split(document, maxsplit=1)
        document = f"{before}{marks[0]}\n{figures_of(committed(suite))}\n{marks[1]}{after}"
    return document


def committed(suite: str) -> Result:
    """Return a suite's committed baseline."""
    baseline = baseline_of(suite, ROOT / "nowhere")
    if baseline is None:
        raise ValueError(f"{suite} has no committed baseline: `make baselines` makes them")
    return baseline.result


def figures_of(result: Result) -> str:
    """Return what was running, and a row for each gate."""
    running = result.running
    told = f"Head {running.head} {running.head_quantization} (`{running.head_sha256[:12]}`), temperament {running.temperament}"
    if running.model:
        told += f", model {running.model}"
    passed = "every gate passed" if result.passed else "**not every gate passed**"
    lines = [f"{told}, seed {running.seed}; {passed}.", "", "| figure | value | gate | |", "|---|---|---|---|"]
    for verdict in result.verdicts:
        gate = verdict.gate
        low, high = ("≥", gate.least), ("≤", gate.most)
        limits = [f"{sign} {limit:g}" for sign, limit in (low, high) if limit is not None]
        lines.append(
            f"| `{gate.measure}` | {number(verdict.value)} | {' '.join(limits)} | {'' if verdict.passed else 'fails'} |"
        )
    gated = {verdict.gate.measure for verdict in result.verdicts}
    others = [f"`{name}` {number(value)}" for name, value in result.figures.items() if name not in gated]
    return "\n".join([*lines, "", f"Not gated: {', '.join(others)}."])


if __name__ == "__main__":
    main()
