"""Score raw outputs against the rows' own targets: the same measures for PyTorch and for every quantized file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.head import Calibration
from training.metrics import auc, cross_fit_macro_f1, expected_f1_thresholds, f1_scores, pearson, sigmoid
from training.outputs import AXES, AXIS_COLUMNS, EMOTION_COLUMNS, EMOTIONS, LOG_VARIANCE_COLUMNS
from training.rows import Row

Array = NDArray[np.floating]


@dataclass(frozen=True, slots=True)
class Scored:
    """A split's rows beside what a head said of them."""

    labelled: NDArray[np.bool_]
    """Which rows carry emotions; [rows]."""
    probabilities: Array
    """Of each emotion, for the rows that carry emotions; [labelled rows, 28]."""
    emotions: NDArray[np.bool_]
    """What those rows carry; [labelled rows, 28]."""
    halves: NDArray[np.bool_]
    """Which of two halves each row belongs to, by content key; [rows]."""
    predicted: Array
    """Axis readings, -1 to 1, of all rows; [rows, 3]."""
    sigma: Array
    """Predicted standard deviations before calibration, of all rows; [rows, 3]."""
    axes: Array
    """Axis targets, NaN where there is none; [rows, 3]."""
    sources: NDArray[np.str_]
    """Each row's source; [rows]."""
    archetypes: NDArray[np.str_]
    """Each row's archetype, empty for rows that are no probes; [rows]."""


@dataclass(frozen=True, slots=True)
class Scorer:
    """A finished head of either kind, ready to read rows."""

    head_id: str
    weights: str
    """The type of its matrices."""
    calibration: Calibration
    """What it came with."""
    score: Callable[[Sequence[Row]], Scored]
    """Reads rows and pairs the readings with them."""


def score(outputs: Array, rows: Sequence[Row]) -> Scored:
    """Pair raw outputs [rows, at least EXPORTED] with the rows they were computed for."""
    outputs = outputs.astype(np.float64)
    labelled = np.array([row.emotions is not None for row in rows])
    emotions = np.zeros((len(rows), len(EMOTIONS)), dtype=bool)
    for index, row in enumerate(rows):
        emotions[index, list(row.emotions or ())] = True
    targets = [[getattr(row, axis) for axis in AXES] for row in rows]
    return Scored(
        labelled=labelled,
        probabilities=sigmoid(outputs[labelled, EMOTION_COLUMNS]),
        emotions=emotions[labelled],
        # Not the last digit: the held-out probes are those whose key divides by ten, so theirs is always even.
        # A text without a letter has no key.
        halves=np.array([int(row.key[:1] or "0", 16) % 2 == 0 for row in rows]),
        predicted=np.tanh(outputs[:, AXIS_COLUMNS]),
        sigma=np.exp(0.5 * outputs[:, LOG_VARIANCE_COLUMNS]),
        axes=np.array(targets, dtype=np.float64).reshape(len(rows), len(AXES)),
        sources=np.array([row.source for row in rows]),
        archetypes=np.array([row.archetype or "" for row in rows]),
    )


def summary(scored: Scored, thresholds: Array | None = None) -> dict[str, float]:
    """Return the head's few telling numbers on a development split, by name; none on emotions where no row carries any.

    Args:
        scored: the split.
        thresholds: the head's own, [28]; if None, those with the highest expected F1 on this very split.
    """
    result = _emotion_summary(scored, thresholds) if scored.labelled.any() else {}
    result["emobank_valence_r"] = axis_correlation(scored, "emobank", 0)
    result["question_intimacy_r"] = axis_correlation(scored, "question_intimacy", 1)
    probes = scored.sources == "probes"
    for index, axis in enumerate(AXES):
        result[f"probes_{axis}_r"] = axis_correlation(scored, "probes", index)
        signed = probes & (np.abs(scored.axes[:, index]) > SIGN_MARGIN)
        result[f"probes_{axis}_auc"] = auc(scored.predicted[signed, index], scored.axes[signed, index] > 0)
    return result


def _emotion_summary(scored: Scored, thresholds: Array | None) -> dict[str, float]:
    if thresholds is None:
        thresholds = expected_f1_thresholds(scored.probabilities)
    predicted = scored.probabilities >= thresholds
    return {
        "goemotions_macro_f1": float(f1_scores(predicted, scored.emotions).mean()),
        "goemotions_macro_f1_cross_fit": cross_fit_macro_f1(
            scored.probabilities, scored.emotions, scored.halves[scored.labelled]
        ),
    }


SIGN_MARGIN = 0.15
"""A probe takes part in an axis's AUC when its label is at least 0.2 from zero; labels come in tenths."""


def axis_correlation(scored: Scored, source: str, axis: int) -> float:
    """Return Pearson's r between reading and target on one source's rows that carry the axis."""
    chosen = (scored.sources == source) & ~np.isnan(scored.axes[:, axis])
    return pearson(scored.predicted[chosen, axis], scored.axes[chosen, axis])
