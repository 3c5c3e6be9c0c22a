"""A run's curves as one PNG: the losses, and the development scores, by epoch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator


def plot_curves(history: list[dict[str, Any]], path: Path) -> None:
    """Plot the training losses (left) and the development scores (right) of a run's history to `path`."""
    figure = Figure(figsize=(10, 4), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    epochs = [entry["epoch"] for entry in history]
    for axes, part, title in ((left, "losses", "training losses (weighted)"), (right, "dev", "development scores")):
        for name in history[0][part]:
            axes.plot(epochs, [entry[part][name] for entry in history], marker="o", markersize=3, label=name)
        axes.set_title(title)
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3)
        axes.legend(fontsize=7)
    figure.savefig(path, dpi=90, metadata={"Software": ""})
