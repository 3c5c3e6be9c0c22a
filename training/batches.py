"""Rows to batches: weighted sampling by source, texts of like length together, everything decided by (seed, epoch)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from tokenizers import Tokenizer

from training.outputs import AUXILIARY_AXES, AXES, EMOTIONS, XED_LABELS
from training.ratings import NOBODY, Ratings
from training.rows import Row

_TARGETS = ("emotions", "axes", "xed", "auxiliary_axes", "teacher_axes")

_POOL_BATCHES = 40
"""Texts are sorted by length within this many batches' worth: little padding, and an order that is still random."""


@dataclass(frozen=True, slots=True)
class Batch:
    """One step's tensors, rows first. A target that a row does not carry is NaN."""

    ids: torch.Tensor
    """Token ids, padded with 0; int64 [rows, tokens]."""
    mask: torch.Tensor
    """1 for a token, 0 for padding; int64 [rows, tokens]."""
    emotions: torch.Tensor
    """0 or 1; float32 [rows, 28]."""
    axes: torch.Tensor
    """-1 to 1; float32 [rows, 3]."""
    xed: torch.Tensor
    """0 or 1; float32 [rows, 9]."""
    auxiliary_axes: torch.Tensor
    """-1 to 1; float32 [rows, 2]."""
    teacher_axes: torch.Tensor
    """A teacher's readings of the axes that nobody rated, -1 to 1; float32 [rows, 3]."""


class RowTable:
    """All rows of a split, tokenized once and held as arrays."""

    def __init__(
        self, rows: Sequence[Row], tokenizer: Tokenizer, max_tokens: int, ratings: Ratings | None = None
    ) -> None:
        """Tokenize `rows` with a tokenizer whose truncation is set to `max_tokens`, and add a teacher's ratings of them."""
        tokenizer.no_padding()
        tokenizer.enable_truncation(max_tokens)
        self.ids = [encoding.ids for encoding in tokenizer.encode_batch([row.text for row in rows])]
        self.lengths = np.array([len(ids) for ids in self.ids])
        self.sources = np.array([row.source for row in rows])
        self.emotions = _multi_hot([row.emotions for row in rows], len(EMOTIONS))
        self.xed = _multi_hot([row.xed for row in rows], len(XED_LABELS))
        self.axes = _columns(rows, AXES)
        self.auxiliary_axes = _columns(rows, AUXILIARY_AXES)
        self.teacher_axes = (ratings or NOBODY).targets(rows)

    def batch(self, chosen: np.ndarray) -> Batch:
        """Return the rows with the given indexes as one padded batch."""
        width = int(self.lengths[chosen].max())
        ids = np.zeros((len(chosen), width), dtype=np.int64)
        for place, index in enumerate(chosen):
            ids[place, : self.lengths[index]] = self.ids[index]
        mask = (np.arange(width) < self.lengths[chosen, None]).astype(np.int64)
        targets = (getattr(self, name)[chosen] for name in _TARGETS)
        return Batch(torch.from_numpy(ids), torch.from_numpy(mask), *(torch.from_numpy(target) for target in targets))


def epoch_batches(table: RowTable, sampling: dict[str, float], rows: int, seed: int, epoch: int) -> list[np.ndarray]:
    """Return the epoch's batches as index arrays.

    A source with weight 2.5 gives each of its rows twice and a random half of them once more.
    """
    random = np.random.default_rng([seed, epoch])
    drawn = []
    for source in sorted(sampling):
        members = np.flatnonzero(table.sources == source)
        whole = int(sampling[source])
        extra = round((sampling[source] - whole) * len(members))
        drawn += [members] * whole + [random.permutation(members)[:extra]]
    order = random.permutation(np.concatenate(drawn))
    return like_lengths(order, table.lengths, rows, _POOL_BATCHES, random)


def like_lengths(
    order: np.ndarray, lengths: np.ndarray, rows: int, pool_batches: int, random: np.random.Generator
) -> list[np.ndarray]:
    """Return batches of texts of like length, in an order that is still random.

    Args:
        order: indexes of the texts, shuffled; int64.
        lengths: tokens of every text.
        rows: texts of a batch.
        pool_batches: texts are sorted by length within this many batches' worth.
        random: shuffles the batches.
    """
    batches: list[np.ndarray] = []
    for start in range(0, len(order), rows * pool_batches):
        pool = order[start : start + rows * pool_batches]
        pool = pool[np.argsort(lengths[pool], kind="stable")]
        batches += [pool[at : at + rows] for at in range(0, len(pool), rows)]
    return [batches[index] for index in random.permutation(len(batches))]


def in_length_order(table: RowTable, rows: int) -> Iterator[np.ndarray]:
    """Yield every row once, the shortest first, for evaluation."""
    order = np.argsort(table.lengths, kind="stable")
    for start in range(0, len(order), rows):
        yield order[start : start + rows]


def _multi_hot(labels: Sequence[tuple[int, ...] | None], count: int) -> np.ndarray:
    table = np.full((len(labels), count), np.nan, dtype=np.float32)
    for index, ids in enumerate(labels):
        if ids is not None:
            table[index] = 0
            table[index, list(ids)] = 1
    return table


def _columns(rows: Sequence[Row], names: tuple[str, ...]) -> np.ndarray:
    values = [[getattr(row, name) for name in names] for row in rows]
    return np.array(values, dtype=np.float32).reshape(len(rows), len(names))
