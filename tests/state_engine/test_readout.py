"""Bounds, bands and rest."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.state_engine.causes import Reading
from services.state_engine.dynamics import Dynamics
from services.state_engine.library import TemperamentLibrary
from services.state_engine.readout import Band, Bands, squash
from services.state_engine.temperament import Temperament
from tests.state_engine import strategies as some

LIBRARY = TemperamentLibrary()


@pytest.mark.parametrize("name", LIBRARY.names)
def test_rest_reads_exactly_the_baseline(name: str) -> None:
    temperament = LIBRARY.named(name)
    adapted = temperament.readout.adapted(temperament.dynamics.advance(temperament.dynamics.rest(), 12_345.6))

    assert all(
        level.value == level.baseline and level.band is Band.STEADY for level in temperament.readout.levels(adapted)
    )
    assert all(mood.intensity == 0.0 for mood in temperament.readout.moods(adapted))


@given(
    st.lists(st.floats(-1e12, 1e12), min_size=5, max_size=5), st.lists(st.floats(-1.0, 1e12), min_size=5, max_size=5)
)
def test_any_state_whatever_reads_within_bounds(latent: list[float], exposure: list[float]) -> None:
    first, second, mood = some.seen(np.array(latent + exposure))

    assert 0.0 <= first <= 100.0
    assert 0.0 <= second <= 100.0
    assert -1.0 <= mood <= 1.0


@given(
    st.lists(st.floats(-1e12, 1e12), min_size=5, max_size=5), st.lists(st.floats(-1.0, 1e12), min_size=5, max_size=5)
)
def test_no_read_out_passes_its_ceiling(latent: list[float], exposure: list[float]) -> None:
    adapted = some.readout().adapted(np.array(latent + exposure))

    assert (np.abs(adapted) <= some.CEILINGS).all()


@given(st.floats(1.0, 99.0), st.floats(-500.0, 500.0), st.floats(0.0, 500.0))
def test_the_squash_is_monotone_and_close_to_the_identity_near_rest(
    baseline: float, distance: float, more: float
) -> None:
    assert squash(baseline, 0.0) == baseline
    assert squash(baseline, distance) <= squash(baseline, distance + more)
    assert abs(squash(baseline, 1e-4) - baseline - 1e-4) < 1e-9
    assert abs(squash(baseline, -1e-4) - baseline + 1e-4) < 1e-9


@pytest.mark.parametrize(
    ("distance", "band"),
    [
        (-12.0, Band.CRASHING),
        (-11.99, Band.FADING),
        (-6.0, Band.FADING),
        (-5.99, Band.STEADY),
        (0.0, Band.STEADY),
        (5.99, Band.STEADY),
        (6.0, Band.RISING),
        (11.99, Band.RISING),
        (12.0, Band.SURGING),
    ],
)
def test_bands_are_measured_from_the_baseline(distance: float, band: Band) -> None:
    assert Bands(6.0, 12.0).of(distance) is band


@given(some.dynamics(), st.data(), st.integers(1, 60))
def test_a_flood_is_bounded_whatever_its_size(law: Dynamics, data: st.DataObject, size: int) -> None:
    state = law.rest()
    latent = data.draw(some.latents(largest=1e6))
    for _ in range(size):
        state = law.advance(state, 1.0) + law.impulse(latent)
        assert (np.abs(some.readout().adapted(state)) <= some.CEILINGS).all()


HOSTILE = Reading(valence=-0.9, intimacy=-0.4, tension=0.9, confidence=1.0)


def flood(temperament: Temperament, messages: int, gap_s: float = 10.0) -> np.ndarray:
    """Return the state right after the last of equal messages at equal distances: a geometric series of matrices, in closed form.

    Σ_{k<N} Pᵏ u with P = exp(G·gap) is (I − P)⁻¹ (I − Pᴺ) u, which costs the same for ten messages and for a million.
    """
    law = temperament.dynamics
    size = 2 * law.size
    step = np.column_stack([law.advance(unit, gap_s) for unit in np.eye(size)])
    all_steps = np.column_stack([law.advance(unit, gap_s * messages) for unit in np.eye(size)])
    impulse = temperament.impulse(HOSTILE)
    summed: np.ndarray = np.linalg.solve(np.eye(size) - step, impulse - all_steps @ impulse)
    return summed


@pytest.mark.parametrize("name", LIBRARY.names)
def test_the_closed_form_is_the_loop(name: str) -> None:
    temperament = LIBRARY.named(name)
    state = temperament.dynamics.rest()
    for _ in range(50):
        state = temperament.dynamics.advance(state, 10.0) + temperament.impulse(HOSTILE)

    assert np.allclose(flood(temperament, 50), state, rtol=1e-9)


@pytest.mark.parametrize("name", LIBRARY.names)
@pytest.mark.parametrize("messages", [10, 1_000, 10_000, 1_000_000])
def test_recovery_takes_the_stated_time_whatever_the_floods_size(name: str, messages: int) -> None:
    temperament = LIBRARY.named(name)
    law, readout = temperament.dynamics, temperament.readout
    fast = 10
    recovery = law.recovery_time(0.05, first=fast)

    after = flood(temperament, messages)
    rested = readout.adapted(law.advance(after, recovery))

    assert (np.abs(readout.adapted(after)) <= readout.ceilings).all()
    assert (np.abs(rested[:fast]) <= 0.05 * readout.ceilings[:fast] * (1 + 1e-6)).all()
    for level in readout.levels(rested):
        assert level.band is Band.STEADY


def test_a_feeling_fades_overnight() -> None:
    default = LIBRARY.named("default")
    state = flood(default, 100)

    levels = default.readout.levels(default.readout.adapted(default.dynamics.advance(state, 10 * 3_600.0)))

    assert all(abs(level.value - level.baseline) < 3.0 for level in levels)


def test_one_clear_utterance_moves_a_level_visibly_and_several_surge() -> None:
    default = LIBRARY.named("default")
    strong = default.impulse(Reading(valence=-0.6, intimacy=0.0, tension=0.5, confidence=0.65))
    state = default.dynamics.rest()
    cortisol = []
    for _ in range(4):
        state = default.dynamics.advance(state, 30.0) + strong
        cortisol.append(default.readout.levels(default.readout.adapted(state))[2])

    assert cortisol[0].band is Band.RISING
    assert [level.band for level in cortisol[2:]] == [Band.SURGING, Band.SURGING]


@pytest.mark.parametrize("baseline", [1.0, 30.0, 99.0])
@pytest.mark.parametrize("distance", [math.inf, -math.inf, 1e300, -1e300])
def test_the_squash_ends_at_the_range(baseline: float, distance: float) -> None:
    assert squash(baseline, distance) == (100.0 if distance > 0 else 0.0)
