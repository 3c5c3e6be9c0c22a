from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.metrics import (
    auc,
    cross_fit_macro_f1,
    expected_f1_thresholds,
    f1_scores,
    logistic_fit,
    pearson,
    sigmoid,
)

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
@given(st.lists(st.floats(0.001, 0.999), min_size=1, max_size=12, unique=True))
def test_no_cut_has_a_higher_expected_f1_than_the_threshold(chances: list[float]) -> None:
    def expected(threshold: float) -> float:
        chosen = [chance for chance in chances if chance >= threshold]
        return 2 * sum(chosen) / (len(chosen) + sum(chances)) if chosen else 0.0

    threshold = expected_f1_thresholds(np.array(chances)[:, None])[0]

    assert expected(threshold) >= max(map(expected, chances)) - 1e-9


def test_where_probabilities_are_true_their_thresholds_are_nearly_the_best() -> None:
    random = np.random.default_rng(4)
    probabilities = random.beta(0.3, 2.0, (20_000, 1))
    actual = random.random((20_000, 1)) < probabilities

    reached = f1_scores(probabilities >= expected_f1_thresholds(probabilities), actual)[0]

    assert reached > max(f1_scores(probabilities >= cut / 100, actual)[0] for cut in range(1, 100)) - 0.01


def test_f1_counts_by_label() -> None:
    predicted = np.array([[1, 1, 0], [1, 0, 0]], dtype=bool)
    actual = np.array([[1, 0, 0], [0, 1, 0]], dtype=bool)

    assert f1_scores(predicted, actual).tolist() == pytest.approx([2 / 3, 0, 0])


def test_in_the_cross_fit_no_row_judges_itself() -> None:
    """The sure half asks for a high threshold, under which the unsure half says nothing, though its order is right."""
    probabilities = np.array([[0.9], [0.8], [0.2], [0.1]])
    actual = np.array([[True], [True], [True], [False]])
    halves = np.array([True, True, False, False])

    assert f1_scores(probabilities >= expected_f1_thresholds(probabilities), actual)[0] == pytest.approx(0.8)
    # From the sure half 0.8, from the unsure half 0.1: the former then lets nothing of the latter through.
    assert cross_fit_macro_f1(probabilities, actual, halves) == pytest.approx(0.8)
    assert cross_fit_macro_f1(probabilities, ~actual, ~halves) == pytest.approx(0.0)


def test_the_logistic_fit_finds_the_rule_that_made_the_outcomes() -> None:
    random = np.random.default_rng(5)
    features = random.normal([1.0, -3.0], [2.0, 0.5], (40_000, 2))
    outcomes = random.random(40_000) < sigmoid(-4.3 + features @ np.array([0.7, -1.2]))

    fitted = logistic_fit(features, outcomes, np.ones(40_000), ridge=1.0)

    assert fitted[1:] == pytest.approx([0.7, -1.2], abs=0.06)
    assert fitted[0] == pytest.approx(-4.3, abs=0.2)


def test_a_ridge_draws_the_coefficients_to_zero_and_leaves_the_share() -> None:
    random = np.random.default_rng(6)
    features = random.normal(size=(200, 3))
    outcomes = random.random(200) < 0.8

    fitted = logistic_fit(features, outcomes, np.ones(200), ridge=1e6)

    assert np.abs(fitted[1:]).max() < 1e-3
    assert sigmoid(fitted[0]) == pytest.approx(outcomes.mean(), abs=1e-3)


def test_a_constant_has_no_correlation() -> None:
    assert math.isnan(pearson(np.ones(3), np.array([1.0, 2.0, 3.0])))
    assert pearson(np.array([1.0, 2.0, 4.0]), np.array([-1.0, -2.0, -4.0])) == pytest.approx(-1)


def test_sigmoid_neither_overflows_nor_leaves_its_range() -> None:
    with np.errstate(all="raise"):
        assert sigmoid(np.array([-1e4, 0.0, 1e4])).tolist() == [0.0, 0.5, 1.0]
