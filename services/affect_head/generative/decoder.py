"""Turns the logits of digits into a reading: axes as expected values, their deviations, and the confidence."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from services.affect_head.confidence import ConfidenceRule
from services.affect_head.head import Axes

SIGMA_FLOOR = 1e-3
"""The smallest deviation that is reported, before calibration: a model that is sure of one digit is not sure to the last bit."""


def expected_values(logits: NDArray[np.floating]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the mean and the standard deviation of each row's distribution over levels, both [rows].

    Args:
        logits: of the levels' digits alone, lowest level first, [rows, levels]; what the model would give to all other tokens is
            left out. Levels are spread evenly over −1…1.
    """
    levels = np.linspace(-1.0, 1.0, logits.shape[1])
    exponents = logits.astype(np.float64)
    weights = np.exp(exponents - exponents.max(1, keepdims=True))
    shares = weights / weights.sum(1, keepdims=True)
    means = shares @ levels
    spreads = np.sqrt((shares * (levels - means[:, None]) ** 2).sum(1))
    return means, np.maximum(spreads, SIGMA_FLOOR)


class DigitDecoder:
    """The rule by which one head's digits are read.

    Args:
        sigma_scale: for each axis, the factor that makes the deviation match the errors on held-out data.
        rule: gives the confidence.
    """

    def __init__(self, sigma_scale: tuple[float, ...], rule: ConfidenceRule) -> None:
        self._sigma_scale = np.array(sigma_scale)
        self._rule = rule

    def decode(self, logits: NDArray[np.floating]) -> tuple[Axes, Axes, float]:
        """Decode the digits' logits [axes, levels] into axes, their standard deviations and the confidence."""
        axes, spreads = expected_values(logits)
        sigma = spreads * self._sigma_scale
        return Axes(*axes.tolist()), Axes(*sigma.tolist()), self._rule.confidence(axes, sigma)
