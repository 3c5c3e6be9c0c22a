from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from training.batches import RowTable, epoch_batches, in_length_order
from training.dataset import load_dataset
from training.tokenizer import load_tokenizer

SAMPLING = {"goemotions": 2.5, "emobank": 1.0, "question_intimacy": 0.0, "xed": 0.5, "probes": 3.0}


@pytest.fixture
def table(dataset: Path, tiny_base: Path) -> RowTable:
    return RowTable(load_dataset(dataset).train, load_tokenizer(tiny_base), max_tokens=128)


def test_an_epoch_shows_each_source_as_often_as_its_weight_says(table: RowTable) -> None:
    drawn = np.concatenate(epoch_batches(table, SAMPLING, rows=8, seed=1, epoch=0))

    shown = Counter(table.sources[drawn].tolist())
    held = Counter(table.sources.tolist())
    assert shown == {name: round(weight * held[name]) for name, weight in SAMPLING.items() if weight}
    times = Counter(drawn.tolist())
    assert {times[index] for index in np.flatnonzero(table.sources == "goemotions")} == {2, 3}


def test_an_epoch_is_decided_by_its_seed_and_number(table: RowTable) -> None:
    def epoch(seed: int, number: int) -> list[list[int]]:
        return [batch.tolist() for batch in epoch_batches(table, SAMPLING, 8, seed, number)]

    assert epoch(1, 0) == epoch(1, 0)
    assert epoch(1, 0) != epoch(1, 1)
    assert epoch(1, 0) != epoch(2, 0)


def test_what_a_row_does_not_carry_is_no_number(table: RowTable) -> None:
    first = {name: int(np.flatnonzero(table.sources == name)[0]) for name in SAMPLING}
    batch = table.batch(np.array([first["goemotions"], first["emobank"], first["question_intimacy"], first["probes"]]))

    assert batch.emotions.isnan().all(1).tolist() == [False, True, True, True]
    assert batch.emotions[0].sum() == 2
    assert batch.axes.isnan().tolist() == [[True] * 3, [False, True, True], [True, False, True], [False] * 3]
    assert batch.auxiliary_axes.isnan().all(1).tolist() == [True, False, True, True]
    assert batch.mask.sum(1).tolist() == [len(table.ids[i]) for i in (first[n] for n in list(SAMPLING)[:3])] + [
        len(table.ids[first["probes"]])
    ]


def test_evaluation_reads_every_row_once_and_the_short_ones_first(table: RowTable) -> None:
    order = np.concatenate(list(in_length_order(table, 10)))

    assert sorted(order.tolist()) == list(range(len(table.ids)))
    assert (np.diff(table.lengths[order]) >= 0).all()
