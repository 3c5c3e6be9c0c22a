"""Measures of a head's quality as plain NumPy functions: scores in, numbers out."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating]


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


def best_thresholds(probabilities: Array, actual: NDArray[np.bool_]) -> Array:
    """Return for each label the threshold with the highest F1 on these rows, as float32 [labels].

    Every distinct cut is tried. The threshold lies halfway between the two probabilities around the best cut, and a
    label that never occurs gets 0.5.
    """
    thresholds = np.full(probabilities.shape[1], 0.5, dtype=np.float32)
    for label in range(probabilities.shape[1]):
        order = np.argsort(-probabilities[:, label], kind="stable")
        ranked, hits = probabilities[order, label], actual[order, label]
        if not hits.any():
            continue
        f1 = 2 * np.cumsum(hits) / (np.arange(1, len(hits) + 1) + hits.sum())
        # A cut between two equal probabilities cannot be made.
        f1[:-1][ranked[:-1] == ranked[1:]] = 0
        cut = int(np.argmax(f1))
        below = ranked[cut + 1] if cut + 1 < len(ranked) else 0.0
        thresholds[label] = (ranked[cut] + below) / 2
    return thresholds


def cross_fit_macro_f1(probabilities: Array, actual: NDArray[np.bool_], halves: NDArray[np.bool_]) -> float:
    """Return the macro F1 when each half is scored with the thresholds of the other: no row judges itself."""
    predicted = np.zeros_like(actual)
    for half in (halves, ~halves):
        predicted[half] = probabilities[half] >= best_thresholds(probabilities[~half], actual[~half])
    return float(f1_scores(predicted, actual).mean())
