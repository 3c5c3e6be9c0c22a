"""What a stimulus does: from a reading or a named event to a signed impulse for each hormone.

    impulse = confidence · (h · K + Σ p·E)

h are the signed halves of the axes, each counted from where everyday talk ends: with q the half's quiet, v⁺ = max(v − q, 0)/(1 − q) and
v⁻ = max(−v − q, 0)/(1 − q), so that 1 is still 1. K is the temperament's gain matrix; the sum goes over the active emotions that the
temperament names, with their probabilities p and gains E. Distance has its own row as well as closeness, and since the rows add up,
closeness in a hostile voice is not warmth. A confidence of 0 moves nothing.
An event does its own gains times its intensity.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import compress
from typing import Final

import numpy as np

from services.state_engine.causes import Cause, Event, Reading
from services.state_engine.dynamics import Vector

Gains = tuple[float, ...]
"""One number for each hormone, in level units."""

AXES: Final = ("valence", "intimacy", "tension")
HALVES: Final = (
    "valence_positive",
    "valence_negative",
    "intimacy_positive",
    "intimacy_negative",
    "tension_positive",
    "tension_negative",
)
"""The rows of the gain matrix."""


class UnknownEventError(LookupError):
    """An event that the temperament does not name. `known` are those that it does."""

    def __init__(self, name: str, known: tuple[str, ...]) -> None:
        super().__init__(name)
        self.name = name
        self.known = known


class Appraisal:
    """The gains of one temperament.

    Plain floats and not arrays: five numbers are added up sooner than NumPy has looked at its arguments.

    Args:
        gains: K, six rows of one gain for each hormone: what a reading of 1 on each half axis does, in level units, at confidence 1.
        quiet: for each row, up to where a reading moves nothing; from 0 to less than 1.
        emotions: for each emotion with an effect of its own, its gains.
        events: for each named event, its gains at intensity 1.
    """

    __slots__ = ("_emotions", "_events", "_gains", "_quiet", "_size")

    def __init__(
        self,
        gains: Sequence[Gains],
        quiet: Sequence[float],
        emotions: Mapping[str, Gains],
        events: Mapping[str, Gains],
    ) -> None:
        self._gains = tuple(gains)
        self._quiet = tuple(quiet)
        self._emotions = dict(emotions)
        self._events = dict(events)
        self._size = len(gains[0])

    @property
    def events(self) -> tuple[str, ...]:
        """The names of the events that it knows."""
        return tuple(self._events)

    @property
    def emotions(self) -> tuple[str, ...]:
        """The names of the emotions that have an effect of their own."""
        return tuple(self._emotions)

    def hormones(self, cause: Cause) -> Gains:
        """Return the signed impulse for each hormone, in level units.

        Raises:
            UnknownEventError: an event that has no name here.
        """
        if isinstance(cause, Event):
            return tuple([gain * cause.intensity for gain in self._event(cause)])
        signed = [0.0] * self._size
        for _, amount, gains in self._terms(cause):
            for hormone, gain in enumerate(gains):
                signed[hormone] += amount * gain
        return tuple([cause.confidence * amount for amount in signed])

    def parts(self, cause: Cause) -> dict[str, Gains]:
        """Return the signed impulses that each axis, emotion or event brings, in level units; together they are `hormones`.

        Raises:
            UnknownEventError: an event that has no name here.
        """
        if isinstance(cause, Event):
            return {cause.name: tuple([gain * cause.intensity for gain in self._event(cause)])}
        return {
            name: tuple([cause.confidence * amount * gain for gain in gains])
            for name, amount, gains in self._terms(cause)
        }

    def _event(self, event: Event) -> Gains:
        if event.name not in self._events:
            raise UnknownEventError(event.name, self.events)
        return self._events[event.name]

    def _terms(self, reading: Reading) -> list[tuple[str, float, Gains]]:
        terms: list[tuple[str, float, Gains]] = []
        for axis, value in enumerate((reading.valence, reading.intimacy, reading.tension)):
            half, size = (2 * axis + 1, -value) if value < 0.0 else (2 * axis, value)
            quiet = self._quiet[half]
            if size > quiet:
                terms.append((AXES[axis], (size - quiet) / (1.0 - quiet), self._gains[half]))
        labels, probabilities, active = reading.emotions
        if True in active:
            for label, probability in compress(zip(labels, probabilities, strict=True), active):
                gains = self._emotions.get(label)
                if gains is not None:
                    terms.append((label, probability, gains))
        return terms


def split_parts(parts: Sequence[Gains], size: int) -> Vector:
    """Return the latent impulses of parts of one stimulus, shape (parts, size), which add up to `split` of their sum.

    A part goes to the channel that the sum goes to, and has the other sign where it pulls against it.
    """
    signed = np.array(parts)
    falls = signed.sum(axis=0) < 0.0
    latents = np.zeros((len(signed), size))
    for hormone, fall in enumerate(falls):
        latents[:, 2 * hormone + fall] = -signed[:, hormone] if fall else signed[:, hormone]
    return latents


def split(hormones: Gains, size: int) -> list[float]:
    """Return the latent impulse, one number for each channel: each hormone's share goes to its rise or, as an amount, to its fall."""
    latent = [0.0] * size
    for hormone, amount in enumerate(hormones):
        latent[2 * hormone + (amount < 0.0)] = abs(amount)
    return latent
