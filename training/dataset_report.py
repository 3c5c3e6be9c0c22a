"""What is in a built data set, as Markdown: how the sources, labels and axes are balanced."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.dataset import Dataset
from training.markdown import table
from training.metrics import pearson
from training.outputs import EMOTIONS
from training.recipe import Recipe
from training.rows import Row

REPORT_FILE = "report.md"
PLOT_FILE = "report.png"

RATED_AXES = ("valence", "intimacy", "tension", "arousal", "dominance")
_LEAST_ROWS = 30


def label_correlations(rows: Sequence[Row]) -> NDArray[np.float64]:
    """Return Pearson's r between each two of `RATED_AXES`, [5, 5], over the rows that carry both.

    NaN where fewer than 30 rows do, or one of the axes does not vary among them.
    """
    values = np.array([[getattr(row, name) for name in RATED_AXES] for row in rows], dtype=np.float64)
    values = values.reshape(len(rows), len(RATED_AXES))
    result = np.full((len(RATED_AXES),) * 2, np.nan)
    for first in range(len(RATED_AXES)):
        for second in range(len(RATED_AXES)):
            pair = values[:, [first, second]]
            pair = pair[~np.isnan(pair).any(axis=1)]
            if len(pair) >= _LEAST_ROWS and pair.std(axis=0).all():
                result[first, second] = pearson(pair[:, 0], pair[:, 1])
    return result


def write_dataset_report(folder: Path, dataset: Dataset, recipe: Recipe) -> None:
    """Write `report.md` and `report.png` beside a built data set.

    Args:
        folder: the data set's folder.
        dataset: its rows and manifest.
        recipe: whose sampling says how often an epoch shows each source.
    """
    from training.plots import plot_dataset

    plot_dataset(folder / PLOT_FILE, dataset.train)
    sections = (
        "# Data set\n\nWritten by `python -m training dataset`.",
        _sources(dataset.manifest, recipe),
        _dropped(dataset.manifest),
        _axes(dataset.train),
        _labels(dataset),
    )
    (folder / REPORT_FILE).write_text("\n\n".join(sections) + "\n", encoding="utf-8")


def _sources(manifest: dict[str, Any], recipe: Recipe) -> str:
    shown = {source["name"]: source["train"] * recipe.sampling[source["name"]] for source in manifest["sources"]}
    rows = [
        [
            s["name"],
            s["train"],
            s["dev"],
            recipe.sampling[s["name"]],
            shown[s["name"]] / sum(shown.values()),
            s["licence"],
        ]
        for s in manifest["sources"]
    ]
    header = ["source", "train rows", "dev rows", "shown per row and epoch", "share of an epoch", "licence"]
    return "## Sources\n\n" + table(header, rows)


def _dropped(manifest: dict[str, Any]) -> str:
    rows = [[split, reason, count] for split, part in manifest["dropped"].items() for reason, count in part.items()]
    return f"## Dropped\n\nAt most {manifest['cap_per_label']:,} training rows of one emotion are kept.\n\n" + table(
        ["split", "why", "rows"], rows
    )


def _axes(rows: Sequence[Row]) -> str:
    spread = []
    for axis in RATED_AXES:
        for source in sorted({row.source for row in rows}):
            values = np.array([v for row in rows if row.source == source and (v := getattr(row, axis)) is not None])
            if len(values):
                share = float((np.abs(values) > 0.25).mean())
                spread.append([axis, source, len(values), float(values.mean()), float(values.std()), share])
    correlations = label_correlations(rows)
    return (
        "## Axes\n\n" + table(["axis", "source", "rows", "mean", "deviation", "beyond 0.25 either way"], spread)
        + "\n\nCorrelations between labels, over the rows that carry both:\n\n"
        + table(["", *RATED_AXES], [[axis, *map(float, line)] for axis, line in zip(RATED_AXES, correlations, strict=True)])
        + f"\n\n![Labels by axis, and their correlations]({PLOT_FILE})"
    )  # fmt: skip


def _labels(dataset: Dataset) -> str:
    counts = [Counter(label for row in rows for label in row.emotions or ()) for rows in (dataset.train, dataset.dev)]
    several = sum(len(row.emotions or ()) > 1 for row in dataset.train)
    rows = [[label, counts[0][index], counts[1][index]] for index, label in enumerate(EMOTIONS)]
    return f"## Emotions\n\n{several:,} training rows carry more than one label, and keep all.\n\n" + table(
        ["emotion", "train rows", "dev rows"], rows
    )
