"""The pipeline's plots, each one PNG whose bytes depend on nothing but its numbers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from training.calibration import judged, reliability
from training.dataset_report import RATED_AXES, label_correlations
from training.head import CONFIDENCE_TOLERANCE, Calibration
from training.outputs import AXES
from training.rows import Row
from training.scoring import Scored

_HISTOGRAM_BINS = 21
_LEAST_ROWS = 50
"""A source with fewer rows than this gets no curve of its own."""


def plot_curves(history: list[dict[str, Any]], path: Path) -> None:
    """Plot the training losses (left) and the development scores (right) of a run's history to `path`."""
    figure, (left, right) = _figure(10, 4, 2)
    epochs = [entry["epoch"] for entry in history]
    for axes, part, title in ((left, "losses", "training losses (weighted)"), (right, "dev", "development scores")):
        for name in history[0][part]:
            axes.plot(epochs, [entry[part][name] for entry in history], marker="o", markersize=3, label=name)
        axes.set_title(title)
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3)
        axes.legend(fontsize=7)
    _save(figure, path)


def plot_reliability(path: Path, calibration: Calibration, scored: Scored) -> None:
    """Plot for each axis how often readings of a given confidence were right: all rows, and each source."""
    figure, panels = _figure(12, 4, len(AXES))
    for axis, axes in enumerate(panels):
        confidence, right, sources = judged(scored, axis, calibration)
        for name in ("all rows", *np.unique(sources)):
            chosen = (sources == name) | (name == "all rows")
            if name != "all rows" and chosen.sum() < _LEAST_ROWS:
                continue
            points = reliability(confidence[chosen], right[chosen], 10 if name == "all rows" else 5)
            axes.plot([p[0] for p in points], [p[1] for p in points], marker="o", label=str(name))
        axes.plot([0, 1], [0, 1], color="grey", linewidth=0.8)
        axes.set_title(AXES[axis])
        axes.set_xlabel("confidence")
        axes.set_ylabel(f"share within {CONFIDENCE_TOLERANCE}")
        axes.legend(fontsize=7)
    _save(figure, path)


def plot_archetypes(path: Path, scored: Scored) -> None:
    """Plot for each axis the mean label and the mean reading of each archetype."""
    names = sorted(set(scored.archetypes.tolist()) - {""})
    figure, panels = _figure(12, 4, len(AXES), sharey=True)
    places = np.arange(len(names))
    for axis, axes in enumerate(panels):
        for offset, (label, values) in enumerate((("label", scored.axes), ("reading", scored.predicted))):
            means = [values[scored.archetypes == name, axis].mean() for name in names]
            axes.barh(places + 0.4 * offset, means, height=0.4, label=label)
        axes.set_yticks(places + 0.2, names, fontsize=8)
        axes.set_xlim(-1, 1)
        axes.set_title(AXES[axis])
        axes.legend(fontsize=7)
    _save(figure, path)


def plot_types(path: Path, metrics: dict[str, dict[str, float]]) -> None:
    """Plot three scores against the size (left) and the median latency (right) of each weight type."""
    figure, panels = _figure(10, 4, 2)
    scores = ("goemotions_macro_f1", "emobank_valence_r", "question_intimacy_r")
    for axes, key, title in ((panels[0], "megabytes", "size, MB"), (panels[1], "ms_p50", "20 tokens, ms")):
        kinds = sorted(metrics, key=lambda kind: metrics[kind][key])
        for score in scores:
            places = [metrics[kind][key] for kind in kinds]
            axes.plot(places, [metrics[kind][score] for kind in kinds], marker="o", markersize=4, label=score)
        for kind in kinds:
            axes.annotate(kind, (metrics[kind][key], metrics[kind][scores[-1]]), fontsize=7, xytext=(0, 6),
                          textcoords="offset points")  # fmt: skip
        axes.set_xlabel(title)
        axes.grid(alpha=0.3)
        axes.legend(fontsize=7)
    _save(figure, path)


def plot_dataset(path: Path, rows: Sequence[Row]) -> None:
    """Plot how each axis's labels are spread, by source, and the correlations between the axes that rows carry.

    A correlation needs rows that carry both axes; where fewer than 30 do, its field stays empty.
    """
    figure, panels = _figure(16, 4, len(AXES) + 1)
    for axis, axes in zip(AXES, panels, strict=False):
        for source in sorted({row.source for row in rows}):
            values = [getattr(row, axis) for row in rows if row.source == source and getattr(row, axis) is not None]
            if values:
                axes.hist(
                    values, bins=np.linspace(-1, 1, _HISTOGRAM_BINS).tolist(), density=True, alpha=0.5, label=source
                )
        axes.set_title(f"{axis}, density of labels")
        axes.legend(fontsize=7)
    _correlations(panels[-1], rows)
    _save(figure, path)


def _correlations(axes: Axes, rows: Sequence[Row]) -> None:
    table = label_correlations(rows)
    for (first, second), value in np.ndenumerate(table):
        if not np.isnan(value):
            axes.text(second, first, f"{value:+.2f}", ha="center", va="center", fontsize=8)
    axes.imshow(table, vmin=-1, vmax=1, cmap="RdBu")
    axes.set_xticks(range(len(RATED_AXES)), RATED_AXES, fontsize=7, rotation=45)
    axes.set_yticks(range(len(RATED_AXES)), RATED_AXES, fontsize=7)
    axes.set_title("correlation of labels")


def _figure(width: float, height: float, panels: int, *, sharey: bool = False) -> tuple[Figure, Sequence[Axes]]:
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots(1, panels, sharey=sharey)


def _save(figure: Figure, path: Path) -> None:
    figure.savefig(path, dpi=80, metadata={"Software": ""})
