"""What training minimises: masked per target, so that a row teaches only what it was rated for."""

from __future__ import annotations

import torch
from torch.nn import functional

from training.batches import Batch
from training.outputs import AUXILIARY_COLUMNS, AXIS_COLUMNS, EMOTION_COLUMNS, LOG_VARIANCE_COLUMNS, XED_COLUMNS
from training.recipe import Recipe

LOG_VARIANCE_RANGE = (-7.0, 3.0)
"""Keeps one lucky or absurd row from dominating a step; standard deviations from 0.03 to 4.5 lie inside."""


def loss_terms(outputs: torch.Tensor, batch: Batch, recipe: Recipe) -> dict[str, torch.Tensor]:
    """Return each target's weighted loss as a scalar; their sum is the step's loss.

    Args:
        outputs: raw network outputs, float32 [rows, TRAINED].
        batch: the targets, NaN where a row does not carry them.
        recipe: gives the weights and beta.

    Every term is divided by the number of rows in the batch, not of those that carry it: a target's influence is then
    the recipe's sampling times its weight, and a single rare row in a batch does not shout.
    """
    terms = {
        "emotions": _labels(outputs[:, EMOTION_COLUMNS], batch.emotions),
        "axes": _gaussian(
            torch.tanh(outputs[:, AXIS_COLUMNS]), outputs[:, LOG_VARIANCE_COLUMNS], batch.axes, recipe.beta
        ),
        "xed": _labels(outputs[:, XED_COLUMNS], batch.xed),
        "auxiliary_axes": _squared(torch.tanh(outputs[:, AUXILIARY_COLUMNS]), batch.auxiliary_axes),
        # Squared, and not the likelihood: how far a teacher's mean is from the student's says nothing of how far people's
        # ratings are from either, which is what the variances are for.
        "teacher_axes": _squared(torch.tanh(outputs[:, AXIS_COLUMNS]), batch.teacher_axes),
    }
    return {name: term * recipe.loss_weights[name] / len(outputs) for name, term in terms.items()}


def _labels(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    rated = ~targets.isnan()
    loss = functional.binary_cross_entropy_with_logits(logits, targets.nan_to_num(), reduction="none")
    return (loss * rated).mean(1).sum()


def _squared(predicted: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    rated = ~targets.isnan()
    return ((predicted - targets.nan_to_num()).square() * rated).sum()


def _gaussian(mean: torch.Tensor, log_variance: torch.Tensor, targets: torch.Tensor, beta: float) -> torch.Tensor:
    """Beta-NLL (Seitzer et al., ICLR 2022): the Gaussian likelihood, weighted by the predicted variance to the beta.

    The plain likelihood divides an axis's gradient by its variance, so rows that look hard are given up on and the
    correlation suffers; the weight, through which nothing flows back, gives them part of their pull back.
    """
    rated = ~targets.isnan()
    bounded = log_variance.clamp(*LOG_VARIANCE_RANGE)
    error = mean - targets.nan_to_num()
    likelihood = 0.5 * (error.square() * torch.exp(-bounded) + bounded)
    return (likelihood * torch.exp(beta * bounded.detach()) * rated).sum()
