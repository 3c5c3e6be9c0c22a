"""Fit what turns raw outputs into decisions: a threshold for each emotion, and a factor on each axis's deviation."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import erf

from training.head import CONFIDENCE_TOLERANCE, Calibration
from training.metrics import best_thresholds
from training.outputs import AXES
from training.scoring import Scored

Array = NDArray[np.floating]

_METHOD = "f1-thresholds+sigma-scale-1"

SIGMA_FLOOR = 1e-3
"""A deviation below this would divide by nothing; none that a trained head predicts comes near."""


def fit_calibration(scored: Scored, rows_sha256: str) -> Calibration:
    """Fit on a development split.

    Args:
        scored: the split, scored through the file type that will be served.
        rows_sha256: the split's SHA-256, of which a part goes into the version's name.
    """
    # Four digits are finer than a split of thousands can tell, and they read well in head.json.
    thresholds = [round(float(value), 4) for value in best_thresholds(scored.probabilities, scored.emotions)]
    everything = np.ones(len(scored.sources), dtype=bool)
    scales = [round(sigma_scale(scored, axis, everything), 4) for axis in range(len(AXES))]
    return Calibration(f"{_METHOD}+dev-{rows_sha256[:12]}", thresholds, scales)


def sigma_scale(scored: Scored, axis: int, chosen: NDArray[np.bool_]) -> float:
    """Return the factor that makes an axis's predicted deviations match its errors on the chosen rows.

    It is the maximum-likelihood one in closed form, the root mean square of error over deviation. Each source counts
    alike, however many rows it has: the probes are the target domain, and the smallest set.
    """
    rated = chosen & ~np.isnan(scored.axes[:, axis])
    ratio = (scored.predicted[:, axis] - scored.axes[:, axis]) / np.maximum(scored.sigma[:, axis], SIGMA_FLOOR)
    squares = [float(np.mean(ratio[rated & (scored.sources == s)] ** 2)) for s in np.unique(scored.sources[rated])]
    return float(np.sqrt(np.mean(squares))) if squares else 1.0


def axis_confidence(sigma: Array) -> Array:
    """Return the probability that a Gaussian error with these calibrated deviations is within the tolerance."""
    return np.asarray(erf(CONFIDENCE_TOLERANCE / (np.maximum(sigma, SIGMA_FLOOR) * np.sqrt(2))))


def judged(scored: Scored, axis: int, scale: float) -> tuple[Array, NDArray[np.bool_], NDArray[np.bool_]]:
    """Return, for the rows that carry an axis, three vectors.

    They are the confidence, whether the reading was within the tolerance, and which of the rows are probes.
    """
    rated = ~np.isnan(scored.axes[:, axis])
    confidence = axis_confidence(scored.sigma[rated, axis] * scale)
    right = np.abs(scored.predicted[rated, axis] - scored.axes[rated, axis]) <= CONFIDENCE_TOLERANCE
    return confidence, right, scored.sources[rated] == "probes"


def cross_fit_judged(scored: Scored, axis: int) -> tuple[Array, NDArray[np.bool_]]:
    """Return confidence and rightness as `judged` does, each half with the scale that the other half gave."""
    rated = ~np.isnan(scored.axes[:, axis])
    first, second = (sigma_scale(scored, axis, half) for half in (scored.halves, ~scored.halves))
    scale = np.where(scored.halves[rated], second, first)
    confidence = axis_confidence(scored.sigma[rated, axis] * scale)
    return confidence, np.abs(scored.predicted[rated, axis] - scored.axes[rated, axis]) <= CONFIDENCE_TOLERANCE


def reliability(confidence: Array, right: NDArray[np.bool_], bins: int = 10) -> list[tuple[float, float, int]]:
    """Return (mean confidence, share that was right, rows) for bins of equal size, the least confident first."""
    order = np.argsort(confidence, kind="stable")
    parts = [part for part in np.array_split(order, bins) if len(part)]
    return [(float(confidence[part].mean()), float(right[part].mean()), len(part)) for part in parts]


def calibration_error(confidence: Array, right: NDArray[np.bool_]) -> float:
    """Return the expected calibration error: the mean gap between confidence and how often it was right.

    The bins are of equal size, so that every one says something.
    """
    gaps = [abs(sure - share) * rows for sure, share, rows in reliability(confidence, right)]
    return sum(gaps) / len(confidence)
