"""From a reading or an event to an impulse. What people feel at which sentence is in test_scenarios.py."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.state_engine.appraisal import Appraisal, UnknownEventError, split
from services.state_engine.causes import Emotions, Event, Reading
from services.state_engine.library import TemperamentLibrary
from services.state_engine.temperament import HORMONES

LIBRARY = TemperamentLibrary()


def said(valence: float, intimacy: float, tension: float, *emotions: str, confidence: float = 0.9) -> Reading:
    return Reading(valence, intimacy, tension, confidence, emotions=voiced(*emotions))


def voiced(*labels: str, probability: float = 0.9, active: bool = True) -> Emotions:
    return Emotions(labels, (probability,) * len(labels), (active,) * len(labels))


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


def test_everyday_talk_moves_nothing_and_what_is_louder_counts_from_there() -> None:
    appraisal = Appraisal([(10.0,)] * 6, [0.2, 0.0, 0.0, 0.5, 0.0, 0.0], {}, {})

    def moved(valence: float, intimacy: float = 0.0) -> float:
        return appraisal.hormones(Reading(valence, intimacy, 0.0, 1.0))[0]

    assert moved(0.2) == moved(0.0, -0.5) == 0.0
    assert moved(0.6) == pytest.approx(5.0)
    assert moved(1.0) == moved(-1.0) == moved(0.0, -1.0) == 10.0
    assert moved(-0.2) == pytest.approx(2.0)


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
    latent = np.array(split(tuple(signed), 14))

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
