from __future__ import annotations

import numpy as np
import pytest

from training.calibration import axis_confidence, calibration_error, cross_fit_judged, fit_calibration, judged
from training.outputs import EMOTIONS, EXPORTED
from training.rows import Row
from training.scoring import Scored, score
from training.text import content_key

SCALE = (0.5, 1.0, 2.0)


@pytest.fixture
def scored() -> Scored:
    """Readings whose errors are Gaussian, with `SCALE` times the deviation that the outputs claim."""
    random = np.random.default_rng(3)
    count = 6000
    outputs = np.zeros((count, EXPORTED))
    outputs[:, :28] = random.normal(size=(count, 28))
    outputs[:, 28:31] = np.arctanh(random.uniform(-0.5, 0.5, (count, 3)))
    outputs[:, 31:34] = 2 * np.log(random.uniform(0.05, 0.5, (count, 3)))
    sigma = np.exp(outputs[:, 31:34] / 2)
    axes = np.tanh(outputs[:, 28:31]) + random.normal(size=(count, 3)) * sigma * SCALE
    rows = [
        Row(content_key(f"row {n}"), f"row {n}", "probes" if n % 2 else "emobank", (), emotions=(n % 28,),
            valence=v, intimacy=i, tension=t)
        for n, (v, i, t) in enumerate(axes.tolist())
    ]  # fmt: skip
    return score(outputs, rows)


def test_the_scale_makes_deviations_match_the_errors(scored: Scored) -> None:
    fitted = fit_calibration(scored, "abcdef0123456789")

    assert fitted.sigma_scale == pytest.approx(SCALE, rel=0.05)
    assert len(fitted.emotion_thresholds) == len(EMOTIONS)
    assert fitted.version.endswith("dev-abcdef012345")


@pytest.mark.parametrize("axis", range(3))
def test_a_right_scale_leaves_confidence_as_good_as_its_word(scored: Scored, axis: int) -> None:
    confidence, right, probes = judged(scored, axis, SCALE[axis])

    assert calibration_error(confidence, right) < 0.03
    assert calibration_error(*cross_fit_judged(scored, axis)) < 0.03
    assert calibration_error(*judged(scored, axis, 4 * SCALE[axis])[:2]) > 0.2
    assert probes.sum() == len(probes) / 2


def test_confidence_is_a_gaussian_mass_within_the_tolerance() -> None:
    assert axis_confidence(np.array([0.25, 0.0, 1e6])).tolist() == pytest.approx([0.6827, 1.0, 0.0], abs=1e-4)


def test_a_small_source_counts_as_much_as_a_large_one() -> None:
    """Nine rows with errors of one deviation, and one row of another source with an error of seven."""
    outputs = np.zeros((10, EXPORTED))
    rows = [Row(content_key(f"{n}"), f"{n}", "a" if n else "b", (), valence=1.0 if n else 7.0) for n in range(10)]

    assert fit_calibration(score(outputs, rows), "x").sigma_scale[0] == pytest.approx(5.0)
