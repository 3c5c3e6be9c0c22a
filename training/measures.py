"""Every figure of a head on a scored split, by name: what head.json holds and the report card shows."""

from __future__ import annotations

import numpy as np

from training.calibration import (
    calibration_error,
    calibration_error_debiased,
    calibration_error_of_chance,
    cross_fit_judged,
    judged,
)
from training.head import Calibration
from training.outputs import AXES
from training.scoring import Scored, summary

AXIS_SOURCES = {"valence": ("emobank", "probes"), "intimacy": ("question_intimacy", "probes"), "tension": ("probes",)}
"""Where each axis is rated. A few GoEmotions rows share their words with one of these, and are left out by source."""

AXIS_PAIRS = ((0, 1), (0, 2), (1, 2))


def measures(scored: Scored, calibration: Calibration) -> dict[str, float]:
    """Return every score of a development split by name, with the head's own thresholds, deviations and confidence."""
    result = summary(scored, np.array(calibration.emotion_thresholds, dtype=np.float32))
    for axis, name in enumerate(AXES):
        confidence, right, sources = judged(scored, axis, calibration)
        crossed = cross_fit_judged(scored, axis)[0]
        result[f"ece_{name}"] = calibration_error(confidence, right)
        result[f"ece_{name}_cross_fit"] = calibration_error(crossed, right)
        result[f"ece_{name}_chance"] = calibration_error_of_chance(confidence)
        result[f"ece_{name}_debiased"] = calibration_error_debiased(crossed, right)
        for source in AXIS_SOURCES[name]:
            own = sources == source
            if not own.any():
                continue
            result[f"ece_{name}_{source}"] = calibration_error(confidence[own], right[own])
            result[f"ece_{name}_{source}_cross_fit"] = calibration_error(crossed[own], right[own])
            result[f"ece_{name}_{source}_chance"] = calibration_error_of_chance(confidence[own])
            result[f"ece_{name}_{source}_debiased"] = calibration_error_debiased(crossed[own], right[own])
            result[f"{source}_{name}_mean_confidence"] = float(confidence[own].mean())
            result[f"{source}_{name}_within_tolerance"] = float(right[own].mean())
            rated = (scored.sources == source) & ~np.isnan(scored.axes[:, axis])
            errors = scored.predicted[rated, axis] - scored.axes[rated, axis]
            result[f"{source}_{name}_mae"] = float(np.abs(errors).mean())
    return result | axis_correlations(scored, "probes")


def axis_correlations(scored: Scored, source: str) -> dict[str, float]:
    """Return Pearson's r between each two axes on one source's rows, of the labels and of the readings."""
    chosen = scored.sources == source
    result = {}
    for first, second in AXIS_PAIRS:
        pair = f"{AXES[first]}_{AXES[second]}"
        for kind, values in (("label", scored.axes), ("predicted", scored.predicted)):
            result[f"{source}_{kind}_r_{pair}"] = float(np.corrcoef(values[chosen][:, [first, second]].T)[0, 1])
    return result
