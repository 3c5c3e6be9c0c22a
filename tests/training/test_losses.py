from __future__ import annotations

import math

import pytest
import torch

from training.batches import Batch
from training.losses import loss_terms
from training.outputs import (
    AUXILIARY_COLUMNS,
    AXIS_COLUMNS,
    EMOTION_COLUMNS,
    LOG_VARIANCE_COLUMNS,
    TRAINED,
    XED_COLUMNS,
)
from training.recipe import Recipe

PARTS = {"emotions": 28, "axes": 3, "xed": 9, "auxiliary_axes": 2, "teacher_axes": 3}


def _batch(rows: int, **targets: torch.Tensor) -> Batch:
    empty = {name: torch.full((rows, count), torch.nan) for name, count in PARTS.items()}
    ids = torch.zeros((rows, 1), dtype=torch.int64)
    return Batch(ids, torch.ones_like(ids), **empty | targets)


@pytest.mark.parametrize(
    ("name", "columns"),
    [
        ("emotions", [EMOTION_COLUMNS]),
        ("axes", [AXIS_COLUMNS, LOG_VARIANCE_COLUMNS]),
        ("xed", [XED_COLUMNS]),
        ("auxiliary_axes", [AUXILIARY_COLUMNS]),
        ("teacher_axes", [AXIS_COLUMNS]),
    ],
)
def test_a_row_teaches_only_what_it_was_rated_for(name: str, columns: list[slice]) -> None:
    outputs = torch.randn((2, TRAINED), generator=torch.Generator().manual_seed(1), requires_grad=True)
    targets = torch.full((2, PARTS[name]), torch.nan)
    targets[0] = 1.0

    sum(loss_terms(outputs, _batch(2, **{name: targets}), Recipe()).values()).backward()

    touched = torch.zeros(TRAINED, dtype=torch.bool)
    for part in columns:
        touched[part] = True
    assert ((outputs.grad[0] != 0) == touched).all()
    assert (outputs.grad[1] == 0).all()


def test_one_axis_alone_moves_no_other() -> None:
    outputs = torch.zeros((1, TRAINED), requires_grad=True)
    targets = torch.tensor([[torch.nan, 0.5, torch.nan]])

    loss_terms(outputs, _batch(1, axes=targets), Recipe())["axes"].backward()

    assert (outputs.grad[0, AXIS_COLUMNS] != 0).tolist() == [False, True, False]
    assert (outputs.grad[0, LOG_VARIANCE_COLUMNS] != 0).tolist() == [False, True, False]


def test_the_axis_loss_is_the_beta_weighted_likelihood() -> None:
    outputs = torch.zeros((1, TRAINED))
    outputs[0, LOG_VARIANCE_COLUMNS] = -2.0
    recipe = Recipe()

    loss = loss_terms(outputs, _batch(1, axes=torch.tensor([[0.4, torch.nan, torch.nan]])), recipe)["axes"]

    likelihood = 0.5 * (0.16 * math.exp(2.0) - 2.0)
    expected = recipe.loss_weights["axes"] * math.exp(recipe.beta * -2.0) * likelihood
    assert loss.item() == pytest.approx(expected)


def test_the_deviation_that_costs_least_is_the_size_of_the_error() -> None:
    outputs = torch.zeros((1, TRAINED))
    outputs[0, LOG_VARIANCE_COLUMNS] = 2 * math.log(0.4)
    outputs.requires_grad_()

    loss_terms(outputs, _batch(1, axes=torch.full((1, 3), 0.4)), Recipe())["axes"].backward()

    assert outputs.grad[0, LOG_VARIANCE_COLUMNS].tolist() == pytest.approx([0, 0, 0], abs=1e-6)
