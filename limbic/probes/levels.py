"""Where levels stand, as the probes see them: distances from the baseline, by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

HORMONES = ("dopamine", "serotonin", "cortisol", "oxytocin", "noradrenaline")
AXES = ("valence", "intimacy", "tension")

Distances: TypeAlias = Mapping[str, float]
"""Each hormone's level less its baseline, in level units, -100 to 100."""

AT_REST: Distances = dict.fromkeys(HORMONES, 0.0)


@dataclass(frozen=True, slots=True)
class Reading:
    """What the head said of an utterance; axes -1 to 1, confidence 0 to 1, the active emotions with their probabilities."""

    valence: float
    intimacy: float
    tension: float
    confidence: float
    emotions: Mapping[str, float]

    def axis(self, name: str) -> float:
        """Return an axis by its name."""
        return {"valence": self.valence, "intimacy": self.intimacy, "tension": self.tension}[name]


@dataclass(frozen=True, slots=True)
class Course:
    """How the levels moved through a conversation of n turns, as distances from the baseline.

    Attributes:
        before: just before each turn's words, n long.
        after: right after each turn's words, n long.
    """

    before: Sequence[Distances]
    after: Sequence[Distances]
