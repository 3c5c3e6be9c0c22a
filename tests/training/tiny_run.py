"""A head trained for a few steps on the tiny sources, for tests of what comes after training."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from training.adapter import ADAPTER_FILE
from training.base import BASE_SHA256
from training.hashing import file_sha256
from training.head import Calibration, Head, save_head
from training.outputs import AXES, EMOTIONS
from training.recipe import Recipe
from training.session import prepare_run
from training.train import Run

RECIPE = replace(
    Recipe(),
    epochs=2,
    batch_rows=16,
    lora_rank=4,
    lora_alpha=8,
    sampling=dict.fromkeys(Recipe().sampling, 0.3),
    # Large steps, so that a few of them change the outputs more than rounding does.
    adapter_learning_rate=0.01,
)


def tiny_run(
    dataset: Path, folder: Path, base: Path, ratings: Path | None = None, start: Path | None = None, **changes: object
) -> Run:
    """Return a run over the tiny data, ready to train."""
    return prepare_run(dataset, folder, replace(RECIPE, **changes), base, ratings, start)  # type: ignore[arg-type]


def describe(folder: Path, **changes: object) -> Head:
    """Write a `head.json` for the adapter in `folder`, with made-up thresholds."""
    head = Head(
        "tiny", BASE_SHA256, file_sha256(folder / ADAPTER_FILE),
        Calibration("made-up", [0.3] * len(EMOTIONS), [1.0, 1.5, 2.0][: len(AXES)],
                    [[0.5, -1.0, 0.1, 0.2, 0.3]] * len(AXES)), {"base": "random"}, "Q8_0", 128,
    )  # fmt: skip
    save_head(folder, replace(head, **changes))  # type: ignore[arg-type]
    return replace(head, **changes)  # type: ignore[arg-type]
