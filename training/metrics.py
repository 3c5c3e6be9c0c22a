"""Measures of a head's quality as plain NumPy functions: scores in, numbers out."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating]

_NEWTON_STEPS, _NEWTON_TOLERANCE = 50, 1e-9


def sigmoid(logits: Array) -> Array:
    """Return probabilities for logits of any shape, without overflow."""
    return np.asarray(0.5 * (1 + np.tanh(0.5 * logits)))


def pearson(predicted: Array, actual: Array) -> float:
    """Return the correlation of two vectors; NaN where one of them is constant."""
    if len(predicted) < 2 or np.ptp(predicted) == 0 or np.ptp(actual) == 0:
        return float("nan")
    return float(np.corrcoef(predicted, actual)[0, 1])


def auc(scores: Array, positive: NDArray[np.bool_]) -> float:
    """Return the probability that a positive scores above a negative, ties counting half; NaN without both kinds."""
    count = int(positive.sum())
    others = len(positive) - count
    if not count or not others:
        return float("nan")
    _, places, sizes = np.unique(scores, return_inverse=True, return_counts=True)
    ends = np.cumsum(sizes)
    ranks = (ends - (sizes - 1) / 2)[places]
    return float((ranks[positive].sum() - count * (count + 1) / 2) / (count * others))


def f1_scores(predicted: NDArray[np.bool_], actual: NDArray[np.bool_]) -> Array:
    """Return each label's F1, [labels], for [rows, labels]; 0 where a label is neither predicted nor present."""
    both = (predicted & actual).sum(0)
    total = predicted.sum(0) + actual.sum(0)
    return np.asarray(2 * both / np.maximum(total, 1))


def expected_f1_thresholds(probabilities: Array) -> Array:
    """Return for each label the threshold with the highest expected F1, as float64 [labels].

    The expectation is over labels drawn with the given probabilities; their true labels take no part, so a label with a
    dozen rows cannot pull its threshold to where those happen to lie. Expected hits over the expected mean of both
    counts stands for the expected ratio, which is exact in the limit of many rows (Ye et al., ICML 2012). The threshold
    lies halfway between the two probabilities around the cut.
    """
    ranked = -np.sort(-probabilities, axis=0)
    hits = np.cumsum(ranked, axis=0)
    f1 = 2 * hits / (np.arange(1, len(ranked) + 1)[:, None] + hits[-1])
    cuts = np.argmax(f1, axis=0)
    labels = np.arange(probabilities.shape[1])
    return np.asarray((ranked[cuts, labels] + ranked[np.minimum(cuts + 1, len(ranked) - 1), labels]) / 2)


def cross_fit_macro_f1(probabilities: Array, actual: NDArray[np.bool_], halves: NDArray[np.bool_]) -> float:
    """Return the macro F1 when each half is scored with the thresholds of the other: no row judges itself."""
    predicted = np.zeros_like(actual)
    for half in (halves, ~halves):
        predicted[half] = probabilities[half] >= expected_f1_thresholds(probabilities[~half])
    return float(f1_scores(predicted, actual).mean())


def logistic_fit(features: Array, outcomes: NDArray[np.bool_], weights: Array, ridge: float) -> Array:
    """Return the intercept and the coefficients, [1 + features], of a ridge logistic regression by Newton's method.

    The ridge is on coefficients of features brought to deviation 1, and leaves the intercept alone; `weights` count
    with a mean of 1. The result is for the features as they were given.
    """
    center, spread = features.mean(0), np.maximum(features.std(0), 1e-9)
    table = np.column_stack([np.ones(len(features)), (features - center) / spread])
    share = weights / weights.mean()
    penalty = np.diag([1e-6, *[ridge] * features.shape[1]])
    solution = np.zeros(table.shape[1])
    for _ in range(_NEWTON_STEPS):
        chances = sigmoid(table @ solution)
        gradient = table.T @ (share * (chances - outcomes)) + penalty @ solution
        curvature = (table * (share * chances * (1 - chances))[:, None]).T @ table + penalty
        step = np.linalg.solve(curvature, gradient)
        solution -= step
        if np.abs(step).max() < _NEWTON_TOLERANCE:
            break
    coefficients = solution[1:] / spread
    return np.concatenate([[solution[0] - coefficients @ center], coefficients])
