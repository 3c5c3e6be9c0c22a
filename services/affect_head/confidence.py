"""How sure a head is of a reading: the one rule by which every kind of head turns deviations into a confidence."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from services.affect_head.head import AXES

_SQRT_2 = math.sqrt(2)


class ConfidenceRule:
    """The probability that a reading is within the tolerance of what people would say, averaged over the axes.

    Args:
        weights: for each axis (b, s, w₁, w₂, w₃), fitted on held-out ratings; empty: errors are taken for Gaussian.
        tolerance: of the readings, in the axes' own unit.
    """

    def __init__(self, weights: tuple[tuple[float, ...], ...], tolerance: float) -> None:
        self._weights = np.array(weights)
        self._tolerance = tolerance

    def confidence(self, axes: NDArray[np.float64], sigma: NDArray[np.float64]) -> float:
        """Return the confidence in a reading [axes] with the calibrated standard deviations `sigma` [axes].

        With weights, an axis's is logistic(b + s·ln σ + w₁·|valence| + w₂·|intimacy| + w₃·|tension|). Without, a Gaussian error of
        deviation σ lies within the tolerance t with probability erf(t / (σ·√2)).
        """
        if not len(self._weights):
            return sum(math.erf(self._tolerance / (deviation * _SQRT_2)) for deviation in sigma.tolist()) / len(AXES)
        features = np.vstack([np.ones(len(AXES)), np.log(sigma), np.tile(np.abs(axes)[:, None], len(AXES))])
        return float(logistic((self._weights.T * features).sum(0)).mean())


def logistic(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the logistic function of values of any shape."""
    # tanh, unlike exp, neither overflows nor warns, whatever the size of its argument.
    return np.asarray(0.5 + 0.5 * np.tanh(0.5 * values))
