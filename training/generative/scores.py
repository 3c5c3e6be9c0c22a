"""Pair a generative head's digits with the rows' targets, in the form in which every head is scored."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from services.affect_head.generative.decoder import expected_values
from training.outputs import AXES, EMOTIONS
from training.rows import Row
from training.scoring import Scored


def score_digits(digits: NDArray[np.floating], rows: Sequence[Row]) -> Scored:
    """Pair the digits' logits [rows, 3, levels] with the rows that they were computed for; such a head tells no emotions."""
    means, spreads = expected_values(digits.reshape(-1, digits.shape[-1]))
    none = np.zeros((0, len(EMOTIONS)))
    targets = [[getattr(row, axis) for axis in AXES] for row in rows]
    return Scored(
        labelled=np.zeros(len(rows), dtype=bool),
        probabilities=none,
        emotions=none.astype(bool),
        halves=np.array([int(row.key[:1] or "0", 16) % 2 == 0 for row in rows]),
        predicted=means.reshape(len(rows), len(AXES)),
        sigma=spreads.reshape(len(rows), len(AXES)),
        axes=np.array(targets, dtype=np.float64).reshape(len(rows), len(AXES)),
        sources=np.array([row.source for row in rows]),
        archetypes=np.array([row.archetype or "" for row in rows]),
    )
