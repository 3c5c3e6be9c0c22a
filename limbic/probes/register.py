"""Manners of speaking as directions in the space of sentence embeddings. Pure.

A manner is given by pairs of sentences on one topic each, one of which has more of it. The mean of their differences is a direction in
which the topics cancel and the manner stays. A sentence is placed on it by its projection: -1 where the pairs' lesser halves lie on
average, +1 where their greater halves do. Word lists would find the words that somebody thought of; this finds what is like them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Embeddings: TypeAlias = NDArray[np.float64]
"""One row of unit length for each sentence, shape (n, width)."""

HALF_WAY = 0.5
"""From here on a sentence counts as said in a manner: half of the way from the middle to the greater halves' mean."""


@dataclass(frozen=True, slots=True)
class Manner:
    """A direction of unit length, shape (width,), and where its middle and its greater side lie on it."""

    direction: NDArray[np.float64]
    middle: float
    reach: float

    def places(self, sentences: Embeddings) -> NDArray[np.float64]:
        """Return where sentences stand on it, shape (n,): 0 is the middle."""
        placed: NDArray[np.float64] = (sentences @ self.direction - self.middle) / self.reach
        return placed


def manner(more: Embeddings, less: Embeddings) -> Manner:
    """Make a manner from n pairs.

    Args:
        more: the halves that have more of it, shape (n, width).
        less: the others, in the same order.

    Raises:
        ValueError: the pairs do not differ, so that there is no direction.
    """
    mean = (more - less).mean(axis=0)
    length = float(np.linalg.norm(mean))
    if length < 1e-6:
        raise ValueError("the pairs do not differ")
    direction = mean / length
    high, low = float((more @ direction).mean()), float((less @ direction).mean())
    return Manner(direction, (high + low) / 2, (high - low) / 2)


def told_apart(more: Embeddings, less: Embeddings) -> float:
    """Return the share of halves that a manner made from all other pairs puts on the right side: how good a measure it is."""
    right = 0
    for left_out in range(len(more)):
        rest = [index for index in range(len(more)) if index != left_out]
        made = manner(more[rest], less[rest])
        right += int(made.places(more[left_out : left_out + 1])[0] > 0.0)
        right += int(made.places(less[left_out : left_out + 1])[0] < 0.0)
    return right / (2 * len(more))
