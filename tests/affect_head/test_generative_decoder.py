from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from services.affect_head.confidence import ConfidenceRule
from services.affect_head.generative.decoder import SIGMA_FLOOR, DigitDecoder, expected_values

logits = arrays(np.float32, (3, 9), elements=st.floats(-60, 60, width=32))


@given(logits)
def test_means_and_deviations_stay_in_their_ranges(values: np.ndarray) -> None:
    means, spreads = expected_values(values)

    assert (np.abs(means) <= 1).all()
    assert ((spreads >= SIGMA_FLOOR) & (spreads <= 1)).all()


@given(logits, st.floats(-100, 100))
def test_only_differences_between_digits_count(values: np.ndarray, shift: float) -> None:
    shifted = expected_values(values.astype(np.float64) + shift)

    for got, expected in zip(shifted, expected_values(values), strict=True):
        assert got == pytest.approx(expected, abs=1e-9)


@given(logits)
def test_turning_the_digits_round_turns_the_axis_round(values: np.ndarray) -> None:
    means, spreads = expected_values(values)
    turned_means, turned_spreads = expected_values(values[:, ::-1])

    assert turned_means == pytest.approx(-means, abs=1e-12)
    assert turned_spreads == pytest.approx(spreads, abs=1e-6)


def test_one_sure_digit_is_its_level_and_even_digits_are_the_middle() -> None:
    sure = np.full((3, 9), -50.0)
    sure[0, 0] = sure[1, 4] = sure[2, 8] = 50.0

    assert expected_values(sure)[0] == pytest.approx([-1, 0, 1])
    # A uniform distribution over nine levels in steps of a quarter: √(60/9)/4.
    means, spreads = expected_values(np.zeros((1, 9)))
    assert (means[0], spreads[0]) == pytest.approx((0, np.sqrt(60 / 9) / 4))


def test_the_calibrations_factor_widens_and_the_rule_sees_it() -> None:
    values = np.tile(np.linspace(-1, 1, 9), (3, 1))
    narrow, wide = (DigitDecoder((scale,) * 3, ConfidenceRule((), 0.25)).decode(values) for scale in (1.0, 2.0))

    assert wide[0] == narrow[0]
    assert wide[1].valence == pytest.approx(2 * narrow[1].valence)
    assert wide[2] < narrow[2]
