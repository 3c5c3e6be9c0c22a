"""What each utterance still contributes to a state: the terms of the sum that the state is.

With z = (x, e) at a moment and d = 1 + κ·e, a stimulus with the impulse u that fell s seconds ago has the share ``exp(A s) u / d``, and the
shares of all stimuli add up to ``x / d``, which is what the read-out squashes. An axis of a reading has a share of its own, since an
impulse is the sum of what its axes bring. So nothing here is an estimate.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from services.state_engine.appraisal import split_parts
from services.state_engine.causes import Cause
from services.state_engine.dynamics import Matrix, Vector
from services.state_engine.temperament import HORMONES, Temperament
from services.state_engine.timeline import Felt

_FAST = 2 * len(HORMONES)


@dataclass(frozen=True, slots=True)
class Shares:
    """A part of a state before the squash: of each hormone's distance from its baseline in level units, and of each mood."""

    levels: tuple[float, ...]
    moods: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Contribution:
    """What one stimulus still contributes.

    Attributes:
        turn_id: where it was felt.
        stimulus_id: which it is.
        occurred_ns: when it happened.
        shares: how much it is.
        half_life_left_s: how long until half of what is left of it in the hormones has gone, in the session's own time.
    """

    turn_id: str
    stimulus_id: str
    occurred_ns: int
    shares: Shares
    half_life_left_s: float


@dataclass(frozen=True, slots=True)
class Breakdown:
    """The largest contributions, and the sum of all the others."""

    largest: Sequence[Contribution]
    remainder: Shares


def break_down(temperament: Temperament, state: Vector, felt: Felt, ages_s: Sequence[float], limit: int) -> Breakdown:
    """Return what a state is made of.

    Args:
        temperament: what is felt with.
        state: z, shape (2n,).
        felt: all stimuli of which it is the sum.
        ages_s: how long ago each fell, in the session's own time.
        limit: how many contributions to tell apart.
    """
    dynamics, readout = temperament.dynamics, temperament.readout
    size = dynamics.size
    if not felt.moments_ns:
        return Breakdown([], _shares(temperament, np.zeros(size)))
    left = dynamics.remaining(felt.latents, np.array(ages_s))
    adapted = left / readout.damping(state)
    order = np.argsort(-_sizes(adapted), kind="stable")
    largest, others = order[:limit], order[limit:]
    half_lives = dynamics.half_lives(left[largest], _FAST)
    contributions = []
    for index, half_life in zip(largest.tolist(), half_lives.tolist(), strict=True):
        shares = _shares(temperament, adapted[index])
        turn_id, stimulus_id, moment_ns = felt.turn_ids[index], felt.stimulus_ids[index], felt.moments_ns[index]
        contributions.append(Contribution(turn_id, stimulus_id, moment_ns, shares, half_life))
    return Breakdown(contributions, _shares(temperament, adapted[others].sum(axis=0)))


def axis_shares(temperament: Temperament, state: Vector, cause: Cause, age_s: float) -> dict[str, Shares]:
    """Return the share of each axis, emotion or event in what one stimulus contributes to a state z, shape (2n,)."""
    parts = temperament.appraisal.parts(cause)
    if not parts:
        return {}
    latents = split_parts(list(parts.values()), temperament.dynamics.size)
    left = temperament.dynamics.remaining(latents, np.full(len(parts), age_s))
    adapted = left / temperament.readout.damping(state)
    return {name: _shares(temperament, row) for name, row in zip(parts, adapted, strict=True)}


def _sizes(adapted: Matrix) -> Vector:
    # By hormone and not by channel: what a rise and a fall of one hormone take from each other is not there to be seen.
    hormones = adapted[:, 0:_FAST:2] - adapted[:, 1:_FAST:2]
    sizes: Vector = np.abs(hormones).sum(axis=1) + np.abs(adapted[:, _FAST:]).sum(axis=1)
    return sizes


def _shares(temperament: Temperament, adapted: Vector) -> Shares:
    levels, moods = temperament.readout.distances(adapted)
    return Shares(tuple(levels.tolist()), tuple(moods.tolist()))
