"""From the latent state to what can be seen: levels in 0…100, bands, moods. All that is not linear happens here and nowhere else.

With z = (x, e) and κ = 1/ceiling for each channel:

    y = x / (1 + κ·e)                             adaptation: what has been felt long is felt less; |y| < ceiling
    level = baseline + S(y_rise − y_fall)         S(d) = room·tanh(d/room), room = 100 − baseline above, baseline below
    mood = tanh(y_mood / scale)

S has the value 0 and the slope 1 at 0, so that small movements read in level units and rest reads the baseline, bit for bit.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

import numpy as np

from services.state_engine.dynamics import Vector

LEVEL_MAX = 100.0


class Band(Enum):
    """Where a level stands, measured from its own baseline."""

    CRASHING = "crashing"
    FADING = "fading"
    STEADY = "steady"
    RISING = "rising"
    SURGING = "surging"


class Level(NamedTuple):
    """One hormone's level: value and baseline in 0…100."""

    name: str
    value: float
    baseline: float
    band: Band


class Mood(NamedTuple):
    """One mood's intensity, −1…1; 0 at rest."""

    name: str
    intensity: float


@dataclass(frozen=True, slots=True)
class Bands:
    """How far from its baseline a level has to be: `near` for rising and fading, `far` for surging and crashing."""

    near: float
    far: float

    def of(self, distance: float) -> Band:
        """Return the band of a signed distance from the baseline. The thresholds themselves belong to the outer bands."""
        if abs(distance) < self.near:
            return Band.STEADY
        if distance > 0.0:
            return Band.SURGING if distance >= self.far else Band.RISING
        return Band.CRASHING if distance <= -self.far else Band.FADING


class Readout:
    """Reads levels and moods off a state.

    The channels are, in this order: rise and fall of each hormone, then the moods.

    Args:
        baselines: by hormone; more than 0 and less than 100.
        mood_scales: by mood; the read-out at which the intensity is tanh(1) = 0.76.
        ceilings: 1/κ of each channel, shape (2·hormones + moods,), in level units.
        bands: the thresholds.
    """

    __slots__ = ("_bands", "_baselines", "_fast", "_kappa", "_mood_scales", "_scales", "_size")

    def __init__(
        self,
        baselines: Sequence[tuple[str, float]],
        mood_scales: Sequence[tuple[str, float]],
        ceilings: Vector,
        bands: Bands,
    ) -> None:
        self._baselines = tuple(baselines)
        self._mood_scales = tuple(mood_scales)
        self._kappa = 1.0 / ceilings
        self._bands = bands
        self._scales = np.array([scale for _, scale in mood_scales])
        self._size = ceilings.size
        self._fast = 2 * len(self._baselines)

    @property
    def hormones(self) -> tuple[str, ...]:
        """The names of the levels, in order."""
        return tuple(name for name, _ in self._baselines)

    @property
    def moods_named(self) -> tuple[str, ...]:
        """The names of the moods, in order."""
        return tuple(name for name, _ in self._mood_scales)

    @property
    def ceilings(self) -> Vector:
        """1/κ of each channel, shape (n,), in level units: what no flood drives a read-out past."""
        ceilings: Vector = 1.0 / self._kappa
        return ceilings

    def adapted(self, state: Vector) -> Vector:
        """Return y, shape (n,): each channel's value after adaptation."""
        adapted: Vector = state[: self._size] / self.damping(state)
        return adapted

    def damping(self, state: Vector) -> Vector:
        """Return 1 + κ·e, shape (n,): what adaptation divides each channel by, and each stimulus's share in it alike."""
        # In exact arithmetic e ≥ |x| always (dynamics.py); rounding must not break the bound that follows from it.
        exposure = np.maximum(state[self._size :], np.abs(state[: self._size]))
        damping: Vector = 1.0 + self._kappa * exposure
        return damping

    def distances(self, adapted: Vector) -> tuple[Vector, Vector]:
        """Return what stands before the squash: each hormone's distance from its baseline, and each mood's read-out over its scale.

        Linear in `adapted`, whose last axis has length n; so are the shares of stimuli, and they add up.
        """
        hormones = 2 * len(self._baselines)
        return adapted[..., 0:hormones:2] - adapted[..., 1:hormones:2], adapted[..., hormones:] / self._scales

    def levels(self, adapted: Vector) -> tuple[Level, ...]:
        """Return the hormones' levels, in order."""
        values, band_of = adapted.tolist(), self._bands.of
        found = []
        for index, (name, baseline) in enumerate(self._baselines):
            value = squash(baseline, values[2 * index] - values[2 * index + 1])
            found.append(Level(name, value, baseline, band_of(value - baseline)))
        return tuple(found)

    def moods(self, adapted: Vector) -> tuple[Mood, ...]:
        """Return the moods, in order."""
        values = adapted[self._fast :].tolist()
        return tuple(
            [
                Mood(name, math.tanh(value / scale))
                for (name, scale), value in zip(self._mood_scales, values, strict=True)
            ]
        )


def squash(baseline: float, distance: float) -> float:
    """Return the level at a distance from the baseline: monotone, within 0…100, and the baseline itself at distance 0."""
    room = LEVEL_MAX - baseline if distance > 0.0 else baseline
    level = baseline + room * math.tanh(distance / room)
    return level if 0.0 <= level <= LEVEL_MAX else min(max(level, 0.0), LEVEL_MAX)  # beyond by rounding only
