"""The head's reading of many replies, and how sure one can be of its mean."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from limbic.runtime.llama import AbortFlag
from limbic.runtime.models import find_model
from services.affect_head.encoder import EncoderHead
from services.affect_head.head import Utterance

AXES = ("valence", "intimacy", "tension")
EXCITEMENT = "excitement"
READINGS = (*AXES, EXCITEMENT)
"""Three axes in −1…1, and the probability of excitement, the nearest that the head has to energy."""

_RESAMPLES = 2000


class ReplyReader:
    """Reads replies with the default head."""

    def __init__(self) -> None:
        file = find_model("affect-head")
        file.verify()
        self._head = EncoderHead(file.path, sha256=file.sha256, threads=1)
        self._reader = self._head.open_reader()

    def close(self) -> None:
        """Free the head."""
        self._reader.close()
        self._head.close()

    def read(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """Return a row of READINGS for each text; a row of NaN for one without words, which has no mood."""
        rows = np.full((len(texts), len(READINGS)), np.nan)
        for row, text in zip(rows, texts, strict=True):
            if text.strip():
                reading = self._reader.read(Utterance(text), AbortFlag())
                emotions = {emotion.label: emotion.probability for emotion in reading.emotions}
                row[:] = [*(getattr(reading.axes, axis) for axis in AXES), emotions[EXCITEMENT]]
        return rows


@dataclass(frozen=True, slots=True)
class Mean:
    """A mean with its 95 % confidence interval, over prompts."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        """Show it in a table's cell."""
        return f"{self.value:+.2f} [{self.low:+.2f} {self.high:+.2f}]"

    @property
    def differs_from_zero(self) -> bool:
        """Whether 0 lies outside the interval."""
        return self.low > 0.0 or self.high < 0.0


def mean_of(values: NDArray[np.float64]) -> Mean:
    """Return the mean of what is not NaN, with an interval by bootstrap over the values. Repeatable."""
    values = values[~np.isnan(values)]
    if not len(values):
        return Mean(np.nan, np.nan, np.nan)
    picks = np.random.default_rng(0).integers(0, len(values), (_RESAMPLES, len(values)))
    low, high = np.quantile(values[picks].mean(axis=1), [0.025, 0.975])
    return Mean(float(values.mean()), float(low), float(high))


def distinct_pairs(texts: Sequence[str]) -> float:
    """Return the share of neighbouring word pairs that occur once only within their reply: below 1 where a reply repeats itself."""
    pairs = [list(itertools.pairwise(words)) for words in (text.lower().split() for text in texts)]
    total = sum(map(len, pairs))
    return sum(len(set(each)) for each in pairs) / total if total else 1.0
