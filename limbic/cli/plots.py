"""The plots of `limbic replay`, `limbic temperament` and `limbic expression`: PNG or SVG whose bytes depend on nothing but their numbers.

Matplotlib is the extra `plots`, which `make up` installs; it is loaded only when something is drawn.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_SUFFIXES = (".png", ".svg")

COLOURS = ("#d55e00", "#0072b2", "#cc0000", "#cc79a7", "#7a7a00", "#009e73", "#56b4e9", "#999999", "#e69f00")
"""Apart from each other for most colour-blind eyes; the order of the hormones, then of the moods."""


class PlotError(Exception):
    """A plot cannot be drawn. The text says why and what to do."""


@dataclass(frozen=True, slots=True)
class Curve:
    """One line: its name and its values at the plot's times."""

    name: str
    values: Sequence[float]


def check_output(path: Path) -> None:
    """See to it that a plot can be written there, before anything is computed for it.

    Raises:
        PlotError: Matplotlib is not installed, the file has another ending, or its folder is not there.
    """
    _figure(1.0, 1.0)
    if path.suffix not in _SUFFIXES:
        raise PlotError(f"{path}: give it the ending .png or .svg")
    if not path.parent.is_dir():
        raise PlotError(f"{path} cannot be written: there is no folder {path.parent}")


def plot_replay(
    path: Path, title: str, hours: Sequence[float], said_at: Sequence[float], recorded: Sequence[Curve],
    replayed: Sequence[Curve],
) -> None:  # fmt: skip
    """Draw a row for each curve: as recorded and as replayed on the left, the difference on the right.

    Args:
        path: the file, .png or .svg.
        title: what is compared.
        hours: the times of the points.
        said_at: the times of utterances, marked at the bottom of each row.
        recorded: the levels and moods as they were.
        replayed: as they would have been, in the same order.

    Raises:
        PlotError: Matplotlib is not installed, or the file cannot be written.
    """
    figure = _figure(10.0, 1.5 * len(recorded) + 0.7)
    grid: Any = figure.subplots(len(recorded), 2, sharex=True, width_ratios=(2, 1), squeeze=False)
    for (left, right), was, would_be, colour in zip(grid, recorded, replayed, COLOURS, strict=False):
        left.plot(hours, was.values, color=colour, linewidth=1.4, label="recorded")
        left.plot(hours, would_be.values, color="black", linewidth=1.0, linestyle="--", label="replayed")
        left.plot(said_at, [0.0] * len(said_at), "|", color="grey", transform=left.get_xaxis_transform(), markersize=7)
        left.set_ylabel(was.name, fontsize=8)
        difference = np.subtract(would_be.values, was.values)
        right.fill_between(hours, difference, color=colour, alpha=0.4, linewidth=0.0)
        right.axhline(0.0, color="black", linewidth=0.5)
    grid[0][0].legend(fontsize=7, loc="upper right")
    grid[0][0].set_title(title, fontsize=9, loc="left")
    grid[0][1].set_title("replayed − recorded", fontsize=9, loc="left")
    for axes in grid[-1]:
        axes.set_xlabel("hours", fontsize=8)
    _save(figure, grid.ravel(), path)


def plot_responses(
    path: Path, title: str, hours: Sequence[float], levels: Mapping[str, Sequence[Curve]], moods: Mapping[str, Sequence[Curve]]
) -> None:  # fmt: skip
    """Draw a panel for each stimulus: how far each level goes from its baseline, and below it the moods.

    Args:
        path: the file, .png or .svg.
        title: whose responses they are.
        hours: the times of the points, from the stimulus on.
        levels: by stimulus, the levels' distances from their baselines.
        moods: by stimulus, the moods' intensities.

    Raises:
        PlotError: Matplotlib is not installed, or the file cannot be written.
    """
    columns = 3
    rows = -(-len(levels) // columns)
    figure = _figure(10.0, 3.1 * rows + 0.6)
    figure.suptitle(title, fontsize=10)
    grid: Any = figure.subplots(
        2 * rows, columns, sharex=True, sharey="row", height_ratios=(2, 1) * rows, squeeze=False
    )
    for number, (stimulus, curves) in enumerate(levels.items()):
        row, column = 2 * (number // columns), number % columns
        upper, lower = grid[row][column], grid[row + 1][column]
        upper.set_title(stimulus, fontsize=8)
        for axes, lines, colours in ((upper, curves, COLOURS), (lower, moods[stimulus], COLOURS[len(curves) :])):
            axes.axhline(0.0, color="black", linewidth=0.5)
            for curve, colour in zip(lines, colours, strict=False):
                axes.plot(hours, curve.values, color=colour, linewidth=1.2, label=curve.name)
    for number in range(len(levels), rows * columns):
        for axes in (grid[-2][number % columns], grid[-1][number % columns]):
            axes.set_axis_off()
    for row in range(0, 2 * rows, 2):
        grid[row][0].set_ylabel("from baseline", fontsize=8)
        grid[row + 1][0].set_ylabel("moods", fontsize=8)
    for axes in grid[-1]:
        axes.set_xlabel("hours", fontsize=8)
    lines = grid[0][0].get_lines()[1:] + grid[1][0].get_lines()[1:]
    figure.legend(handles=lines, loc="outside lower center", ncols=len(lines), fontsize=7)
    _save(figure, grid.ravel(), path)


@dataclass(frozen=True, slots=True)
class Panel:
    """One small panel: what moves, the values, and the bounds between which they can lie."""

    name: str
    values: Sequence[float]
    bounds: tuple[float, float]


def plot_effects(
    path: Path, title: str, unit: str, points: Sequence[float], rows: Mapping[str, Sequence[Panel]]
) -> None:
    """Draw a row for each effect and a column for each cause, which are the same in each row. What has no effect is drawn in grey.

    Args:
        path: the file, .png or .svg.
        title: what is shown.
        unit: what the points are.
        points: where the values stand.
        rows: by effect, a panel for each cause.

    Raises:
        PlotError: Matplotlib is not installed, or the file cannot be written.
    """
    columns = len(next(iter(rows.values())))
    figure = _figure(10.0, 1.25 * len(rows) + 0.8)
    figure.suptitle(title, fontsize=10)
    grid: Any = figure.subplots(len(rows), columns, sharex=True, sharey="row", squeeze=False)
    for line, (effect, panels) in zip(grid, rows.items(), strict=True):
        for axes, panel, colour in zip(line, panels, COLOURS, strict=False):
            moves = max(panel.values) > min(panel.values)
            for bound in panel.bounds:
                axes.axhline(bound, color="black", linewidth=0.6, linestyle=":")
            axes.axvline(0.0, color="black", linewidth=0.4)
            axes.plot(points, panel.values, color=colour if moves else "silver", linewidth=1.6 if moves else 1.0)
        line[0].set_ylabel(effect, fontsize=8)
    for axes, panel in zip(grid[0], next(iter(rows.values())), strict=True):
        axes.set_title(panel.name, fontsize=9)
    for axes in grid[-1]:
        axes.set_xlabel(unit, fontsize=8)
    _save(figure, grid.ravel(), path)


def _figure(width: float, height: float) -> Figure:
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise PlotError("drawing needs Matplotlib: pip install 'limbic[plots]' (`make up` installs it)") from None
    return Figure(figsize=(width, height), dpi=90, layout="constrained")


def _save(figure: Figure, panels: Sequence[Axes], path: Path) -> None:
    from matplotlib import rc_context

    check_output(path)
    for axes in panels:
        axes.tick_params(labelsize=7)
        axes.grid(alpha=0.25)
    metadata = {"Software": None} if path.suffix == ".png" else {"Date": None, "Creator": None}
    try:
        # The names inside an SVG are hashes, by default salted anew each time.
        with rc_context({"svg.hashsalt": "limbic"}):
            figure.savefig(path, metadata=metadata)
    except OSError as error:
        raise PlotError(f"{path} cannot be written: {error.strerror}") from None
