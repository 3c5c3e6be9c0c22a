"""The reports' plots, each one PNG whose bytes depend on nothing but its numbers.

Matplotlib is the extra `plots`, which `make up` installs; it is loaded only when something is drawn.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from limbic.probes.errors import ResultError
from limbic.probes.levels import AXES, HORMONES
from limbic.probes.result import Result

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLOURS = ("#d55e00", "#0072b2", "#cc0000", "#cc79a7", "#7a7a00")
"""Apart from each other for most colour-blind eyes; the order of the hormones."""


def draw(result: Result) -> bytes:
    """Draw a result as its suite is drawn, and return the PNG.

    Raises:
        ResultError: Matplotlib is not installed.
    """
    figure = _DRAWN[result.suite](result.detail)
    png = io.BytesIO()
    figure.savefig(png, format="png", metadata={"Software": None})
    return png.getvalue()


def _validation(detail: Mapping[str, Any]) -> Figure:
    """Draw left the share of expectations that came true, by topic and part; right the head's readings against a person's."""
    topics = list(detail["topics"])
    figure = _figure(13.0, 0.28 * len(topics) + 2.2)
    left, *panels = figure.subplots(1, 4, width_ratios=(1.6, 1, 1, 1))
    parts = ("head", "engine", "whole")
    shares = np.array([[detail["topics"][topic].get(part, np.nan) for part in parts] for topic in topics])
    left.imshow(shares, vmin=0.0, vmax=1.0, cmap="RdYlGn", aspect="auto")
    for (row, column), value in np.ndenumerate(shares):
        left.text(column, row, "–" if np.isnan(value) else f"{value:.0%}", ha="center", va="center", fontsize=7)
    left.set_xticks(range(len(parts)), parts, fontsize=8)
    left.set_yticks(range(len(topics)), topics, fontsize=7)
    told = [*detail["conversations"].values(), *(one for triad in detail["triads"].values() for one in triad.values())]
    for axis, axes in zip(AXES, panels, strict=True):
        pairs = [
            (reader[axis], head[axis])
            for one in told
            for reader, head in zip(one["reader"], one["head"], strict=True)
            if reader[axis] is not None and head is not None
        ]
        axes.axhline(0.0, color="grey", linewidth=0.6)
        axes.axvline(0.0, color="grey", linewidth=0.6)
        axes.plot([p for p, _ in pairs], [h for _, h in pairs], ".", markersize=4, alpha=0.6, color=COLOURS[1])
        axes.set_xlim(-1.05, 1.05)
        axes.set_ylim(-1.05, 1.05)
        axes.set_title(axis, fontsize=8)
        axes.set_xlabel("as a person reads it", fontsize=7)
        axes.tick_params(labelsize=7)
    panels[0].set_ylabel("what the head said", fontsize=7)
    return figure


def _midspan(detail: Mapping[str, Any]) -> Figure:
    """Draw a panel for each conversation of the last round: each hormone's distance from its baseline over the hours."""
    curves = detail["curves"]
    columns = 3
    rows = -(-len(curves) // columns)
    figure = _figure(13.0, 2.6 * rows)
    grid: Any = figure.subplots(rows, columns, squeeze=False)
    for axes in grid.ravel()[len(curves) :]:
        axes.set_axis_off()
    for axes, (name, curve) in zip(grid.ravel(), curves.items(), strict=False):
        axes.axhline(0.0, color="black", linewidth=0.5)
        for hormone, colour in zip(HORMONES, COLOURS, strict=True):
            axes.plot(curve["hours"], curve["levels"][hormone], color=colour, linewidth=1.2, label=hormone)
        axes.set_title(name, fontsize=8)
        axes.set_xlabel("hours", fontsize=7)
        axes.tick_params(labelsize=7)
        axes.grid(alpha=0.25)
    grid[0][0].set_ylabel("from baseline", fontsize=7)
    figure.legend(handles=grid[0][0].get_lines()[1:], loc="outside lower center", ncols=len(HORMONES), fontsize=7)
    return figure


def _canary(detail: Mapping[str, Any]) -> Figure:
    """Draw what the head reads in the replies to the same questions: the words before them a minute old, and two days old."""
    figure = _figure(11.0, 3.4)
    panels = figure.subplots(1, 2, sharey=True)
    for axes, mood in zip(panels, ("warm", "hurt"), strict=True):
        by_age = {
            age: {
                one["question"]: one["affect"] for one in detail["coloured"] if (one["mood"], one["age"]) == (mood, age)
            }
            for age in ("faded", "fresh")
        }
        for index, colour in enumerate(COLOURS[: len(AXES)]):
            pairs = [
                (by_age["faded"][question][index], by_age["fresh"][question][index])
                for question in by_age["faded"]
                if by_age["faded"][question] and by_age["fresh"].get(question)
            ]
            for number, (before, after) in enumerate(pairs):
                place = index + 0.06 * (number - len(pairs) / 2)
                axes.annotate(
                    "", (place, after), (place, before), arrowprops={"arrowstyle": "->", "color": colour, "lw": 1.0}
                )
                axes.plot([place], [before], ".", color=colour, markersize=4)
        axes.axhline(0.0, color="grey", linewidth=0.6)
        axes.set_xlim(-0.6, len(AXES) - 0.4)
        axes.set_ylim(-1.0, 1.0)
        axes.set_xticks(range(len(AXES)), AXES, fontsize=8)
        axes.set_title(f"{mood} words: from two days old (dot) to a minute old (arrow)", fontsize=8)
        axes.tick_params(labelsize=7)
    panels[0].set_ylabel("read in the reply", fontsize=7)
    return figure


def _latency(detail: Mapping[str, Any]) -> Figure:
    """Draw each turn's time to the first words, when the model was asked, and the window."""
    figure = _figure(9.0, 3.2)
    axes = figure.subplots()
    for place, turns in enumerate(detail["turns"].values()):
        _strip(axes, place - 0.12, [turn["asked_s"] for turn in turns], COLOURS[1], "the model is asked", place)
        _strip(axes, place + 0.12, [turn["first_delta_s"] for turn in turns], COLOURS[0], "its first words", place)
    axes.axhline(detail["window_s"] * 1e3, color="black", linestyle="--", linewidth=0.8, label="affect window")
    axes.set_xticks(range(len(detail["turns"])), [f"head {head}" for head in detail["turns"]], fontsize=8)
    axes.set_ylabel("ms since the words", fontsize=8)
    axes.set_ylim(bottom=0.0)
    axes.legend(fontsize=7)
    axes.grid(alpha=0.25)
    return figure


def _strip(axes: Any, place: float, seconds: Sequence[float | None], colour: str, label: str, first: int) -> None:
    known = [value * 1e3 for value in seconds if value is not None]
    axes.plot([place] * len(known), known, ".", color=colour, alpha=0.7, label=label if first == 0 else None)


def _figure(width: float, height: float) -> Figure:
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise ResultError("drawing needs Matplotlib: pip install 'limbic[plots]' (`make up` installs it)") from None
    return Figure(figsize=(width, height), dpi=90, layout="constrained")


_DRAWN = {"affect-validation": _validation, "mid-span": _midspan, "canary": _canary, "latency": _latency}
