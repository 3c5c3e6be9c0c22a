from __future__ import annotations

import numpy as np
import pytest

from training.calibration import (
    axis_confidence,
    calibration_error,
    calibration_error_debiased,
    calibration_error_of_chance,
    cross_fit_judged,
    fit_calibration,
    judged,
)
from training.head import Calibration
from training.outputs import EMOTIONS, EXPORTED
from training.rows import Row
from training.scoring import Scored, score
from training.text import content_key

SCALE = (0.5, 1.0, 2.0)


@pytest.fixture(scope="module")
def scored() -> Scored:
    """Readings with Gaussian errors of `SCALE` times the claimed deviation, and twice that in probes, which read far out."""
    random = np.random.default_rng(3)
    count = 6000
    probes = np.arange(count) % 2 == 1
    reach = np.where(probes, 0.9, 0.2)[:, None]
    outputs = np.zeros((count, EXPORTED))
    outputs[:, :28] = random.normal(size=(count, 28))
    outputs[:, 28:31] = np.arctanh(reach * random.uniform(0.5, 1, (count, 3)) * random.choice([-1, 1], (count, 3)))
    outputs[:, 31:34] = 2 * np.log(random.uniform(0.05, 0.5, (count, 3)))
    sigma = np.exp(outputs[:, 31:34] / 2) * SCALE * np.where(probes, 2.0, 1.0)[:, None]
    axes = np.tanh(outputs[:, 28:31]) + random.normal(size=(count, 3)) * sigma
    rows = [
        Row(content_key(f"row {n}"), f"row {n}", "probes" if probes[n] else "emobank", (), emotions=(n % 28,),
            valence=v, intimacy=i, tension=t)
        for n, (v, i, t) in enumerate(axes.tolist())
    ]  # fmt: skip
    return score(outputs, rows)


def test_the_scale_makes_deviations_match_the_errors(scored: Scored) -> None:
    fitted = fit_calibration(scored, "abcdef0123456789")

    # The root mean square of what the two sources need.
    assert fitted.sigma_scale == pytest.approx([np.sqrt((1 + 4) / 2) * scale for scale in SCALE], rel=0.05)
    assert len(fitted.emotion_thresholds) == len(EMOTIONS)
    assert fitted.version.endswith("dev-abcdef012345")


@pytest.mark.parametrize("axis", range(3))
def test_confidence_is_as_good_as_its_word_in_each_source(scored: Scored, axis: int) -> None:
    calibration = fit_calibration(scored, "x")

    confidence, right, sources = judged(scored, axis, calibration)

    assert calibration_error(confidence, right) < 0.04
    for source in ("probes", "emobank"):
        assert calibration_error(confidence[sources == source], right[sources == source]) < 0.08
    crossed, crossed_right, _ = cross_fit_judged(scored, axis)
    assert calibration_error(crossed, crossed_right) < 0.05
    assert not np.array_equal(crossed, confidence)


def test_a_wrong_rule_is_told_from_a_right_one(scored: Scored) -> None:
    fitted = fit_calibration(scored, "x")
    boastful = Calibration("b", fitted.emotion_thresholds, fitted.sigma_scale, [[4.0, 0, 0, 0, 0]] * 3)

    assert calibration_error(*judged(scored, 2, boastful)[:2]) > 0.2


def test_confidence_is_the_logistic_of_its_weights() -> None:
    axes = np.array([[0.5, -0.25, 0.0], [-1.0, 0.0, 0.0]])
    sigma = np.array([np.exp(-2.0), 1.0])

    confidence = axis_confidence(np.array([0.1, -1.0, 2.0, 4.0, 8.0]), axes, sigma)

    assert confidence.tolist() == pytest.approx([1 / (1 + np.exp(-4.1)), 1 / (1 + np.exp(-2.1))])


def test_what_chance_alone_puts_into_a_small_set() -> None:
    """Ten bins of sixteen rows at one half: each is off by the mean distance of sixteen coins from eight, 0.098."""
    assert calibration_error_of_chance(np.full(160, 0.5)) == pytest.approx(0.098, abs=0.01)
    assert calibration_error_of_chance(np.full(16_000, 0.5)) < 0.02
    assert calibration_error_of_chance(np.ones(20)) == 0


def test_what_chance_puts_into_a_small_set_is_taken_out_again() -> None:
    random = np.random.default_rng(3)

    def found(rows: int, gap: float) -> float:
        sets = [random.uniform(0.2, 0.8, rows) for _ in range(200)]
        return float(np.mean([calibration_error_debiased(c, random.random(rows) < c - gap) ** 2 for c in sets]))

    # The plain error squared is 0.009 and 0.027 there, mostly chance.
    assert found(160, 0.0) < 0.004
    assert found(160, 0.15) == pytest.approx(0.15**2, abs=0.003)
    assert found(4_000, 0.15) == pytest.approx(0.15**2, abs=0.001)
    assert calibration_error_debiased(np.ones(20), np.ones(20, dtype=bool)) == 0


def test_a_small_source_counts_as_much_as_a_large_one() -> None:
    """Nine rows with errors of one deviation, and one row of another source with an error of seven."""
    outputs = np.zeros((10, EXPORTED))
    outputs[:, 31:34] = 0.0
    rows = [
        Row(content_key(f"{n}"), f"{n}", "a" if n else "b", (), valence=1.0 if n else 7.0, intimacy=0.0, tension=0.0)
        for n in range(10)
    ]

    assert fit_calibration(score(outputs, rows), "x").sigma_scale[0] == pytest.approx(5.0)
