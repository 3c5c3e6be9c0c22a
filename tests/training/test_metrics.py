from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.metrics import auc, best_thresholds, cross_fit_macro_f1, f1_scores, pearson, sigmoid

SCORES = st.lists(st.tuples(st.integers(0, 8), st.booleans()), min_size=1, max_size=30)


@given(SCORES)
def test_auc_is_the_share_of_pairs_in_the_right_order(rows: list[tuple[int, bool]]) -> None:
    positive = [score for score, is_positive in rows if is_positive]
    negative = [score for score, is_positive in rows if not is_positive]

    value = auc(np.array([float(score) for score, _ in rows]), np.array([kind for _, kind in rows]))

    if positive and negative:
        wins = sum((p > n) + 0.5 * (p == n) for p in positive for n in negative)
        assert value == pytest.approx(wins / (len(positive) * len(negative)))
    else:
        assert math.isnan(value)


@settings(max_examples=50)
@given(SCORES)
def test_no_threshold_beats_the_best_one(rows: list[tuple[int, bool]]) -> None:
    probabilities = np.array([[score / 8] for score, _ in rows])
    actual = np.array([[kind] for _, kind in rows])

    best = f1_scores(probabilities >= best_thresholds(probabilities, actual), actual)[0]

    others = [f1_scores(probabilities >= cut / 16, actual)[0] for cut in range(-1, 18)]
    assert best >= max(others) - 1e-12


def test_f1_counts_by_label() -> None:
    predicted = np.array([[1, 1, 0], [1, 0, 0]], dtype=bool)
    actual = np.array([[1, 0, 0], [0, 1, 0]], dtype=bool)

    assert f1_scores(predicted, actual).tolist() == pytest.approx([2 / 3, 0, 0])


def test_in_the_cross_fit_no_row_judges_itself() -> None:
    """Each half suggests a threshold under which the other is all wrong."""
    probabilities = np.array([[0.9], [0.8], [0.3], [0.2]])
    actual = np.array([[True], [False], [True], [False]])
    halves = np.array([True, True, False, False])

    assert f1_scores(probabilities >= best_thresholds(probabilities, actual), actual)[0] == pytest.approx(0.8)
    assert cross_fit_macro_f1(probabilities, actual, halves) == pytest.approx(0.5)


def test_a_constant_has_no_correlation() -> None:
    assert math.isnan(pearson(np.ones(3), np.array([1.0, 2.0, 3.0])))
    assert pearson(np.array([1.0, 2.0, 4.0]), np.array([-1.0, -2.0, -4.0])) == pytest.approx(-1)


def test_sigmoid_neither_overflows_nor_leaves_its_range() -> None:
    with np.errstate(all="raise"):
        assert sigmoid(np.array([-1e4, 0.0, 1e4])).tolist() == [0.0, 0.5, 1.0]
