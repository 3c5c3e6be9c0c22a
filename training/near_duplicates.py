"""Texts that say the same with a word or a letter changed, found by MinHash over runs of letters.

Two texts are near-duplicates when the sets of their runs of five letters or digits (case, space and punctuation left
out) have a Jaccard similarity of at least `SIMILARITY`. MinHash with banding (Broder 1997; Leskovec, Rajaraman and
Ullman, Mining of Massive Datasets, chapter 3) names the candidates, and each is then compared exactly, so the only
error is to miss a pair: with the numbers below one in 1,200 at the threshold, and fewer above it.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from training.text import to_ascii

SIMILARITY = 0.8
"""At 0.8 a text of forty letters may differ in one of them; unlike short sentences stay far below."""

_RUN = 5
_BANDS, _BAND_HASHES = 18, 5


def runs_of(text: str) -> frozenset[int]:
    """Return the 32-bit hashes of a text's runs of letters; one of the whole where it is shorter than a run."""
    letters = re.sub(r"[^a-z0-9]", "", to_ascii(text).lower()).encode()
    if not letters:
        return frozenset()
    return frozenset(zlib.crc32(letters[at : at + _RUN]) for at in range(max(1, len(letters) - _RUN + 1)))


def similarity(first: frozenset[int], second: frozenset[int]) -> float:
    """Return the Jaccard similarity of two sets of runs, 0 to 1."""
    return len(first & second) / max(1, len(first | second))


def near_duplicates(texts: Sequence[str]) -> dict[int, int]:
    """Return for each text that nearly repeats an earlier one the first such text: index to earlier index.

    A text that is itself named as a repetition repeats nothing for others, so a chain of small changes does not take
    everything with it. Equal input gives equal output; the hash functions are fixed.
    """
    runs = [runs_of(text) for text in texts]
    signatures = _signatures(runs)
    seen: list[dict[bytes, list[int]]] = [{} for _ in range(_BANDS)]
    found: dict[int, int] = {}
    for index, mine in enumerate(runs):
        if not mine:
            continue
        keys = [part.tobytes() for part in np.split(signatures[index], _BANDS)]
        near = sorted({other for band, key in zip(seen, keys, strict=True) for other in band.get(key, ())})
        match = next((other for other in near if similarity(mine, runs[other]) >= SIMILARITY), None)
        if match is not None:
            found[index] = match
            continue
        for band, key in zip(seen, keys, strict=True):
            band.setdefault(key, []).append(index)
    return found


def _signatures(runs: Sequence[frozenset[int]]) -> NDArray[np.uint32]:
    random = np.random.default_rng(0)
    hashes = _BANDS * _BAND_HASHES
    # Odd factors make x -> a * x + b a permutation of the 32-bit numbers, in which NumPy's multiplication wraps around.
    factors = random.integers(0, 1 << 31, hashes, dtype=np.uint32) * np.uint32(2) + np.uint32(1)
    offsets = random.integers(0, 1 << 32, hashes, dtype=np.uint32)
    if not runs:
        return np.zeros((0, hashes), dtype=np.uint32)
    sizes = np.array([max(1, len(mine)) for mine in runs])
    values = np.zeros(sizes.sum(), dtype=np.uint32)
    starts = np.cumsum(sizes) - sizes
    for start, mine in zip(starts, runs, strict=True):
        values[start : start + len(mine)] = list(mine)
    columns = [
        np.minimum.reduceat(values * factor + offset, starts) for factor, offset in zip(factors, offsets, strict=True)
    ]
    return np.stack(columns, axis=1)
