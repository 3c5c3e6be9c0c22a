"""What utterances do. The scenarios' directions were written from domain knowledge, not from the numbers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.state_engine.appraisal import UnknownEventError, split
from services.state_engine.causes import Cause, Emotions, Event, Reading
from services.state_engine.library import TemperamentLibrary
from services.state_engine.temperament import HORMONES

LIBRARY = TemperamentLibrary()


def said(valence: float, intimacy: float, tension: float, *emotions: str, confidence: float = 0.9) -> Reading:
    return Reading(valence, intimacy, tension, confidence, emotions=voiced(*emotions))


def voiced(*labels: str, probability: float = 0.9, active: bool = True) -> Emotions:
    return Emotions(labels, (probability,) * len(labels), (active,) * len(labels))


UP, DOWN, STILL = "+", "-", "0"
NOT_UP = "≤"
"""Falls, or hardly moves: at most 0.3 upwards."""

SCENARIOS: list[tuple[str, Cause, str]] = [
    # dopamine, serotonin, cortisol, oxytocin, noradrenaline; a dot is not judged.
    ("sincere praise", said(0.8, 0.2, -0.2), "++-+-"),
    ("declaration of love", said(0.9, 0.9, -0.1), "++-+."),
    ("calm closeness", said(0.1, 0.6, -0.4), ".+-+-"),
    ("comfort in silence", said(0.0, 0.5, -0.7), ".+-+-"),
    ("hostile closeness: I know you, and you disgust me", said(-0.7, 0.6, 0.7), "--+≤+"),
    ("threat from a stranger", said(-0.6, -0.5, 0.9), "--+-+"),
    ("cold distance: let us keep this professional", said(-0.1, -0.6, 0.0), "--+-0"),
    ("silent treatment", said(-0.4, -0.8, 0.3), "--+-+"),
    ("insult", said(-0.8, -0.2, 0.8), "--+-+"),
    ("fear: someone is in the house", said(-0.5, 0.0, 0.9, "fear"), "--+-+"),
    ("numbness: whatever, I feel nothing", said(-0.05, -0.05, -0.05), "00000"),
    ("grief, quiet", said(-0.6, 0.4, 0.1, "grief"), "--+.."),
    ("thrill: we are going up the mountain tonight!", said(0.6, 0.2, 0.5, "excitement"), "+..++"),
    ("relief after danger", said(0.4, 0.2, -0.6), "++-+-"),
    ("playful teasing", said(0.4, 0.4, 0.1, "amusement"), "++-+."),
    ("pleasant small talk with a clerk", said(0.3, -0.2, -0.2), "..-.-"),
    ("request for help under pressure", said(-0.2, 0.3, 0.6), "..+.+"),
    ("neutral information", said(0.0, 0.0, 0.0), "00000"),
    ("no confidence in the strongest reading", said(-1.0, -1.0, 1.0, "fear", confidence=0.0), "00000"),
    ("reward", Event("reward"), "++0.+"),
    ("stress", Event("stress"), ".-+.+"),
    ("affection", Event("affection"), "..-+-"),
]


@pytest.mark.parametrize(("name", "cause", "directions"), SCENARIOS, ids=[name for name, _, _ in SCENARIOS])
def test_scenario_moves_each_hormone_as_expected(name: str, cause: Cause, directions: str) -> None:
    impulses = dict(zip(HORMONES, LIBRARY.named("default").appraisal.hormones(cause), strict=True))

    for (hormone, impulse), direction in zip(impulses.items(), directions, strict=True):
        if direction == UP:
            assert impulse > 0.2, hormone
        elif direction == DOWN:
            assert impulse < -0.2, hormone
        elif direction == STILL:
            assert abs(impulse) < 0.35, hormone
        elif direction == NOT_UP:
            assert impulse < 0.3, hormone


@pytest.mark.parametrize("name", LIBRARY.names)
def test_in_every_temperament_hostile_closeness_is_not_warmth(name: str) -> None:
    appraisal = LIBRARY.named(name).appraisal
    oxytocin = HORMONES.index("oxytocin")

    hostile = appraisal.hormones(said(-0.7, 0.6, 0.7))[oxytocin]
    warm = appraisal.hormones(said(0.5, 0.6, -0.3))[oxytocin]

    assert hostile < 0.3 < warm


@pytest.mark.parametrize("name", LIBRARY.names)
def test_in_every_temperament_distance_cools(name: str) -> None:
    assert LIBRARY.named(name).appraisal.hormones(said(0.0, -0.8, 0.0))[HORMONES.index("oxytocin")] < -0.5


def test_fear_alarms_more_than_the_axes_alone_say() -> None:
    appraisal = LIBRARY.named("default").appraisal
    plain, afraid = appraisal.hormones(said(-0.5, 0.0, 0.9)), appraisal.hormones(said(-0.5, 0.0, 0.9, "fear"))

    moved = dict(zip(HORMONES, (np.array(afraid) - np.array(plain)).tolist(), strict=True))

    assert moved["noradrenaline"] > 1.0
    assert moved["cortisol"] > 1.0


def test_emotions_count_by_their_probability_and_only_when_active() -> None:
    appraisal = LIBRARY.named("default").appraisal

    def afraid(probability: float, *, active: bool) -> np.ndarray:
        emotions = voiced("fear", probability=probability, active=active)
        return np.array(appraisal.hormones(Reading(0.0, 0.0, 0.0, 1.0, emotions=emotions)))

    assert not afraid(0.9, active=False).any()
    assert afraid(0.8, active=True) == pytest.approx(2.0 * afraid(0.4, active=True))


axes = st.floats(-1.0, 1.0)


@given(axes, axes, axes, st.floats(0.0, 1.0), st.floats(0.0, 1.0))
def test_confidence_scales_the_impulse(v: float, i: float, t: float, confidence: float, factor: float) -> None:
    appraisal = LIBRARY.named("default").appraisal
    full = np.array(appraisal.hormones(Reading(v, i, t, confidence)))

    assert appraisal.hormones(Reading(v, i, t, confidence * factor)) == pytest.approx(factor * full, abs=1e-12)


@given(st.lists(st.floats(-50.0, 50.0), min_size=5, max_size=5))
def test_an_impulse_goes_to_one_channel_by_its_sign(signed: list[float]) -> None:
    latent = split(tuple(signed), 14)

    assert (latent >= 0.0).all()
    assert (latent[0:10:2] - latent[1:10:2] == signed).all()
    assert (latent[0:10:2] * latent[1:10:2] == 0.0).all()
    assert not latent[10:].any()


def test_an_event_scales_with_its_intensity_and_must_be_known() -> None:
    appraisal = LIBRARY.named("default").appraisal

    assert appraisal.hormones(Event("reward", 0.5)) == (5.0, 2.5, 0.0, 0.0, 2.0)
    with pytest.raises(UnknownEventError) as caught:
        appraisal.hormones(Event("lottery"))
    assert "reward" in caught.value.known
