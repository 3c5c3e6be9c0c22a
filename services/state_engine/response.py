"""How a temperament responds to one utterance or event at rest, over time: what a plot of it shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from services.state_engine.appraisal import HALVES
from services.state_engine.causes import Cause, Event, Reading
from services.state_engine.temperament import Temperament

CLEAR: Final = 0.6
CONFIDENCE: Final = 0.65
"""What a head says of a clear sentence."""

SHOWN_HALF_LIVES: Final = 4.0


@dataclass(frozen=True, slots=True)
class Response:
    """What one stimulus does: each level's distance from its baseline and each mood's intensity, at the times of all responses."""

    stimulus: str
    levels: Mapping[str, Sequence[float]]
    moods: Mapping[str, Sequence[float]]


@dataclass(frozen=True, slots=True)
class Responses:
    """All responses of a temperament, and their times in seconds after the stimulus."""

    seconds: Sequence[float]
    responses: Sequence[Response]


def responses(temperament: Temperament, points: int) -> Responses:
    """Return the responses to a clear sentence on each half axis and to each event at intensity 1, at so many times.

    The times go on for four of the hormones' longest half-lives.
    """
    readout = temperament.readout
    fast = 2 * len(readout.hormones)
    longest = float((np.log(2.0) / -np.diagonal(temperament.dynamics.rates)[:fast]).max())
    seconds = np.linspace(0.0, SHOWN_HALF_LIVES * longest, points).tolist()
    return Responses(seconds, [_response(temperament, name, cause, seconds) for name, cause in _stimuli(temperament)])


def _response(temperament: Temperament, name: str, cause: Cause, seconds: Sequence[float]) -> Response:
    readout, start = temperament.readout, temperament.impulse(cause)
    levels: dict[str, list[float]] = {hormone: [] for hormone in readout.hormones}
    moods: dict[str, list[float]] = {mood: [] for mood in readout.moods_named}
    for elapsed in seconds:
        adapted = readout.adapted(temperament.dynamics.advance(start, elapsed))
        for level in readout.levels(adapted):
            levels[level.name].append(level.value - level.baseline)
        for mood in readout.moods(adapted):
            moods[mood.name].append(mood.intensity)
    return Response(name, levels, moods)


def _stimuli(temperament: Temperament) -> list[tuple[str, Cause]]:
    sentences: list[tuple[str, Cause]] = []
    for index, half in enumerate(HALVES):
        value = -CLEAR if index % 2 else CLEAR
        valence, intimacy, tension = (value if axis == index // 2 else 0.0 for axis in range(3))
        sign = "−" if index % 2 else "+"
        sentences.append((f"{half.partition('_')[0]} {sign}{CLEAR:g}", Reading(valence, intimacy, tension, CONFIDENCE)))
    return sentences + [(f"event {name}", Event(name)) for name in temperament.appraisal.events]
