"""The law of motion, for random temperaments."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.state_engine.dynamics import Dynamics, Propagator, UnsettledError
from services.state_engine.library import TemperamentLibrary
from tests.state_engine import strategies as some

seconds = st.floats(0.0, 200_000.0)


@given(some.dynamics(), st.data(), seconds, seconds)
def test_advancing_twice_is_advancing_by_the_sum(
    law: Dynamics, data: st.DataObject, first: float, second: float
) -> None:
    state = law.impulse(data.draw(some.latents())) + law.advance(law.impulse(data.draw(some.latents())), 10.0)

    twice = law.advance(law.advance(state, first), second)

    assert np.allclose(twice, law.advance(state, first + second), rtol=1e-9, atol=1e-10)


@given(some.dynamics(), st.data(), seconds)
def test_states_add_up(law: Dynamics, data: st.DataObject, elapsed: float) -> None:
    one, other = law.impulse(data.draw(some.latents())), law.impulse(data.draw(some.latents()))

    together = law.advance(one + other, elapsed)

    assert np.allclose(together, law.advance(one, elapsed) + law.advance(other, elapsed), rtol=1e-9, atol=1e-10)


@given(some.dynamics(), st.data(), st.lists(st.floats(0.0, 50_000.0), min_size=1, max_size=8))
def test_the_exposure_covers_the_state(law: Dynamics, data: st.DataObject, gaps: list[float]) -> None:
    state = law.rest()

    for gap in gaps:
        state = law.advance(state, gap) + law.impulse(data.draw(some.latents()))
        later = law.advance(state, data.draw(seconds))

        latent, exposure = later[: law.size], later[law.size :]
        assert (np.abs(latent) <= exposure + 1e-9 * (1.0 + exposure)).all()


@given(some.dynamics(), seconds, st.data())
def test_both_ways_of_advancing_agree(law: Dynamics, elapsed: float, data: st.DataObject) -> None:
    through_eigenbasis = Propagator(law.rates)
    if not through_eigenbasis.uses_eigenbasis:
        return
    through_expm = Propagator(law.rates)
    through_expm.uses_eigenbasis = False
    state = data.draw(some.latents(largest=1.0))

    assert np.allclose(
        through_eigenbasis.advance(state, elapsed), through_expm.advance(state, elapsed), rtol=0, atol=1e-12
    )


@pytest.mark.parametrize("name", TemperamentLibrary().names)
@pytest.mark.parametrize("elapsed", [1e-9, 0.01, 1.0, 61.0, 3_600.0, 86_400.0, 31_536_000.0])
def test_both_ways_agree_for_what_is_shipped(name: str, elapsed: float) -> None:
    law = TemperamentLibrary().named(name).dynamics
    expected = Propagator(law.rates)
    expected.uses_eigenbasis = False

    assert law.uses_eigenbasis, "the shipped temperaments advance in microseconds"
    for latent in np.eye(law.size):
        advanced = law.advance(law.impulse(latent), elapsed)[: law.size]
        assert np.allclose(advanced, expected.advance(latent, elapsed), rtol=0, atol=1e-12)


def test_equal_rates_without_an_eigenbasis_still_advance_exactly() -> None:
    rate = math.log(2.0) / 100.0
    law = Dynamics(("fast", "slow"), np.array([[-rate, 0.0], [rate, -rate]]), 2.0)

    advanced = law.advance(law.impulse(np.array([8.0, 0.0])), 100.0)

    assert not law.uses_eigenbasis
    # The closed form of the defective case: slow(t) = rate·t·fast(0)·exp(−rate·t).
    assert advanced[:2] == pytest.approx([4.0, math.log(2.0) * 4.0], rel=1e-12)


def test_no_time_changes_not_one_bit() -> None:
    law = TemperamentLibrary().named("default").dynamics
    state = law.impulse(np.linspace(0.1, 1.3, law.size))

    assert (law.advance(state, 0.0) == state).all()


def test_a_state_is_never_propagated_backwards() -> None:
    law = TemperamentLibrary().named("default").dynamics

    with pytest.raises(ValueError, match="backwards"):
        law.advance(law.rest(), -1e-9)


def test_what_would_grow_is_refused_by_name() -> None:
    with pytest.raises(UnsettledError) as caught:
        Dynamics(("calm", "a", "b"), np.array([[-1.0, 0.0, 0.0], [0.0, -0.1, 0.3], [0.0, 0.3, -0.1]]), 2.0)

    assert caught.value.channel in {"a", "b"}
    assert caught.value.rate == pytest.approx(0.2)


def test_what_grows_only_in_the_exposure_is_refused_too() -> None:
    loop = np.array([[-0.1, 0.08], [-0.08, -0.1]])

    assert np.linalg.eigvals(loop).real.max() < 0
    with pytest.raises(UnsettledError):
        Dynamics(("a", "b"), loop, 2.0)


@pytest.mark.parametrize(
    ("rates", "slowness"),
    [
        (np.array([[0.0]]), 2.0),
        (np.array([[-1.0]]), 1.0),
        (np.array([[math.nan]]), 2.0),
        (np.array([[-1.0, 0.0]]), 2.0),
    ],
)
def test_what_is_no_law_is_refused(rates: np.ndarray, slowness: float) -> None:
    with pytest.raises(ValueError, match="rates must be"):
        Dynamics(("only",), rates, slowness)


def test_recovery_of_one_channel_is_the_closed_form() -> None:
    law = Dynamics(("only",), np.array([[-math.log(2.0) / 600.0]]), 3.0)

    # R(s) = 2^(−(s/h)(1 − 1/ρ)) = 1/16  ⇔  s = 4·h/(1 − 1/3) = 6·h
    assert law.recovery_time(1.0 / 16.0) == pytest.approx(3_600.0, rel=2e-3)


@settings(max_examples=25)
@given(some.dynamics(), st.floats(0.01, 0.9), st.floats(0.0, 100_000.0))
def test_recovery_never_turns_back(law: Dynamics, delta: float, longer: float) -> None:
    recovered = law.recovery_time(delta)

    assert law.recovery_ratios(recovered + longer).max() <= delta * (1 + 1e-6)


@pytest.mark.parametrize("delta", [0.0, 1.0, math.nan])
def test_recovery_to_an_absurd_share_is_refused(delta: float) -> None:
    with pytest.raises(ValueError, match="delta"):
        TemperamentLibrary().named("default").dynamics.recovery_time(delta)
