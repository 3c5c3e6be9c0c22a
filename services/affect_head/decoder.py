"""Turns the network's raw outputs into a reading: probabilities, axes, uncertainties and confidence."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from services.affect_head.confidence import ConfidenceRule, logistic
from services.affect_head.head import AXES, Axes, Emotion
from services.affect_head.head_file import HeadFile

LOG_VARIANCE_RANGE = (2 * math.log(1e-3), 3.0)
"""Deviations of 0.001 to 4.5. The loss is flat above the upper end, so what lies beyond it means nothing; the lower end is the
floor that the calibration was fitted with."""


class Decoder:
    """The rule by which one head's outputs are read, in float64.

    Args:
        file: what the head's file says.
    """

    def __init__(self, file: HeadFile) -> None:
        place = {name: index for index, name in enumerate(file.outputs)}
        self._labels = file.emotions
        self._emotions = np.array([place[f"emotion.{label}"] for label in file.emotions])
        self._axes = np.array([place[f"axis.{axis}"] for axis in AXES])
        self._log_variances = np.array([place[f"log_variance.{axis}"] for axis in AXES])
        self._thresholds = np.array(file.thresholds)
        self._clamp = file.axis_activation == "clamp"
        self._sigma_scale = np.array(file.sigma_scale)
        self._rule = ConfidenceRule(file.confidence_weights, file.confidence_tolerance)

    def decode(self, outputs: NDArray[np.floating]) -> tuple[Axes, Axes, float, tuple[Emotion, ...]]:
        """Decode finite raw outputs [outputs] into axes, their standard deviations, confidence and emotions.

        An emotion's probability is the logistic function of its output. A standard deviation is √exp(log variance) times the
        calibration's factor.
        """
        values = outputs.astype(np.float64)
        raw = values[self._axes]
        axes = np.clip(raw, -1.0, 1.0) if self._clamp else np.tanh(raw)
        sigma = np.exp(0.5 * np.clip(values[self._log_variances], *LOG_VARIANCE_RANGE)) * self._sigma_scale
        probabilities = logistic(values[self._emotions])
        active = probabilities >= self._thresholds
        emotions = tuple(map(Emotion, self._labels, probabilities.tolist(), active.tolist()))
        return Axes(*axes.tolist()), Axes(*sigma.tolist()), self._rule.confidence(axes, sigma), emotions
