"""Fit what turns raw outputs into decisions and honest confidence, on a development split.

A threshold for each emotion, a factor on each axis's deviation, and for each axis a logistic rule that says how likely
the reading is within the tolerance of what people would say.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from training.head import CONFIDENCE_TOLERANCE, Calibration
from training.metrics import expected_f1_thresholds, logistic_fit, sigmoid
from training.outputs import AXES
from training.scoring import Scored

Array = NDArray[np.floating]
Chosen = NDArray[np.bool_]

_METHOD = "expected-f1-thresholds+logistic-confidence-1"

SIGMA_FLOOR = 1e-3
"""A deviation below this would divide by nothing; none that a trained head predicts comes near."""

_RIDGE = 10.0
"""On the rule's weights, for features of deviation 1: two of the sets that it is fitted on have 157 and 225 rows."""


def fit_calibration(scored: Scored, rows_sha256: str) -> Calibration:
    """Fit on a development split.

    Args:
        scored: the split, scored through the file type that will be served. Without emotions there are no thresholds.
        rows_sha256: the split's SHA-256, of which a part goes into the version's name.
    """
    # Four digits are finer than a split of thousands can tell, and they read well in head.json.
    found = expected_f1_thresholds(scored.probabilities) if scored.labelled.any() else ()
    thresholds = [round(float(value), 4) for value in found]
    everything = np.ones(len(scored.sources), dtype=bool)
    scales = [round(sigma_scale(scored, axis, everything), 4) for axis in range(len(AXES))]
    weights = [
        [round(float(weight), 4) for weight in confidence_weights(scored, axis, scales[axis], everything)]
        for axis in range(len(AXES))
    ]
    return Calibration(f"{_METHOD}+dev-{rows_sha256[:12]}", thresholds, scales, weights)


def sigma_scale(scored: Scored, axis: int, chosen: Chosen) -> float:
    """Return the factor that makes an axis's predicted deviations match its errors on the chosen rows.

    It is the maximum-likelihood one in closed form, the root mean square of error over deviation. Each source counts
    alike, however many rows it has: the probes are the target domain, and the smallest set.
    """
    rated = chosen & ~np.isnan(scored.axes[:, axis])
    ratio = (scored.predicted[:, axis] - scored.axes[:, axis]) / np.maximum(scored.sigma[:, axis], SIGMA_FLOOR)
    squares = [float(np.mean(ratio[rated & (scored.sources == s)] ** 2)) for s in np.unique(scored.sources[rated])]
    return float(np.sqrt(np.mean(squares))) if squares else 1.0


def confidence_weights(scored: Scored, axis: int, scale: float, chosen: Chosen) -> Array:
    """Return an axis's five weights of `axis_confidence`, fitted by ridge logistic regression on the chosen rows.

    A source's rows together weigh the root of their number: as single rows, a thousand sentences of edited prose would
    decide how sure the head is of a chat line; as equal sources, 157 probes would decide it for the prose.
    """
    rated = chosen & ~np.isnan(scored.axes[:, axis])
    sources = scored.sources[rated]
    weights = np.zeros(len(sources))
    for source in np.unique(sources):
        weights[sources == source] = (sources == source).sum() ** -0.5
    features = _features(scored.predicted[rated], scored.sigma[rated, axis] * scale)
    return logistic_fit(features, _right(scored, axis, rated), weights, _RIDGE)


def axis_confidence(weights: Array, axes: Array, sigma: Array) -> Array:
    """Return the probability that an axis's readings are within the tolerance of what people would say, [rows].

    Args:
        weights: of 1, ln σ, |valence|, |intimacy| and |tension|; [5].
        axes: all three readings, [rows, 3]. What they say together tells chat from edited prose, which people rate
            with more and with less difference.
        sigma: the axis's calibrated deviations, [rows].
    """
    features = _features(axes, sigma)
    return sigmoid(weights[0] + features @ weights[1:])


def _features(axes: Array, sigma: Array) -> Array:
    return np.column_stack([np.log(np.maximum(sigma, SIGMA_FLOOR)), np.abs(axes)])


def _right(scored: Scored, axis: int, rated: Chosen) -> NDArray[np.bool_]:
    return np.asarray(np.abs(scored.predicted[rated, axis] - scored.axes[rated, axis]) <= CONFIDENCE_TOLERANCE)


def judged(scored: Scored, axis: int, calibration: Calibration) -> tuple[Array, NDArray[np.bool_], NDArray[np.str_]]:
    """Return, for the rows that carry an axis, three vectors.

    They are the confidence, whether the reading was within the tolerance, and the rows' sources.
    """
    rated = ~np.isnan(scored.axes[:, axis])
    confidence = axis_confidence(
        np.array(calibration.confidence_weights[axis]),
        scored.predicted[rated],
        scored.sigma[rated, axis] * calibration.sigma_scale[axis],
    )
    return confidence, _right(scored, axis, rated), scored.sources[rated]


def cross_fit_judged(scored: Scored, axis: int) -> tuple[Array, NDArray[np.bool_], NDArray[np.str_]]:
    """Return what `judged` does, each half's confidence with the scale and the weights that the other half gave."""
    rated = ~np.isnan(scored.axes[:, axis])
    confidence = np.zeros(len(scored.sources))
    for half in (scored.halves, ~scored.halves):
        scale = sigma_scale(scored, axis, ~half)
        weights = confidence_weights(scored, axis, scale, ~half)
        confidence[half] = axis_confidence(weights, scored.predicted[half], scored.sigma[half, axis] * scale)
    return confidence[rated], _right(scored, axis, rated), scored.sources[rated]


def reliability(confidence: Array, right: NDArray[np.bool_], bins: int = 10) -> list[tuple[float, float, int]]:
    """Return (mean confidence, share that was right, rows) for bins of equal size, the least confident first."""
    order = np.argsort(confidence, kind="stable")
    parts = [part for part in np.array_split(order, bins) if len(part)]
    return [(float(confidence[part].mean()), float(right[part].mean()), len(part)) for part in parts]


def calibration_error(confidence: Array, right: NDArray[np.bool_]) -> float:
    """Return the expected calibration error: the mean gap between confidence and how often it was right.

    The ten bins are of equal size, so that every one says something.
    """
    gaps = [abs(sure - share) * rows for sure, share, rows in reliability(confidence, right)]
    return sum(gaps) / len(confidence)


def calibration_error_debiased(confidence: Array, right: NDArray[np.bool_]) -> float:
    """Return the root mean square gap over the same bins with the part taken out that chance puts there; 0 if none is left.

    A bin's squared gap is too large by the variance of its share that was right, which that share itself estimates (Kumar,
    Liang and Ma, Verified Uncertainty Calibration, NeurIPS 2019). Unlike the plain error it does not grow as rows get fewer.
    """
    square = sum(
        rows * ((sure - share) ** 2 - share * (1 - share) / max(1, rows - 1))
        for sure, share, rows in reliability(confidence, right)
    )
    return float(np.sqrt(max(0.0, square / len(confidence))))


def calibration_error_of_chance(confidence: Array, draws: int = 200) -> float:
    """Return the calibration error that these confidences would show on so few rows if they were exactly right.

    A bin of sixteen rows is off by a tenth through chance alone, so an error of a small set means nothing without this
    beside it. It is the mean over `draws` sets of outcomes, drawn with the confidences as their probabilities.
    """
    random = np.random.default_rng(0)
    return float(
        np.mean([calibration_error(confidence, random.random(len(confidence)) < confidence) for _ in range(draws)])
    )
