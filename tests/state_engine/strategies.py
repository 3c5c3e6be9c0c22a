"""What the laws are tried on: random stable temperaments, event lists and conversation trees."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import strategies as st

from limbic.runtime.clock import NS_PER_S
from services.state_engine.dynamics import Dynamics, Vector
from services.state_engine.folds import Stimulus
from services.state_engine.readout import Bands, Readout
from tests.state_engine.parts import START_NS

HORMONES = ("first", "second")
MOODS = ("mood",)
CHANNELS = ("first.rise", "first.fall", "second.rise", "second.fall", "mood")
FAST = 2 * len(HORMONES)
CEILINGS = np.array([60.0, 50.0, 40.0, 30.0, 80.0])

half_lives = st.floats(20.0, 40_000.0)
shares = st.floats(-0.9, 0.9)


@st.composite
def dynamics(draw: st.DrawFn) -> Dynamics:
    """A stable law of five channels: what is fed flows from earlier channels to later ones, and a little back among the fast ones."""
    decay = math.log(2.0) / np.array(draw(st.lists(half_lives, min_size=5, max_size=5)))
    rates = np.diag(-decay)
    for target in range(5):
        for source in range(min(target, FAST)):
            if draw(st.booleans()):
                rates[target, source] = draw(shares) * decay[source]
    if draw(st.booleans()):
        # A loop that loses at least half of what goes round it, which no slowness up to 3 can turn into growth: the product of the
        # shares must stay below the product of the slower diagonals, which is 1/9 of the faster.
        rates[0, 1] = draw(st.floats(-0.1, 0.1)) * decay[1]
    return Dynamics(CHANNELS, rates, draw(st.floats(1.5, 3.0)))


@st.composite
def latents(draw: st.DrawFn, largest: float = 40.0) -> Vector:
    """An impulse: each hormone moves up or down, and no mood is moved directly."""
    signed = np.array(draw(st.lists(st.floats(-largest, largest), min_size=2, max_size=2)))
    latent = np.zeros(len(CHANNELS))
    latent[0:FAST:2], latent[1:FAST:2] = np.maximum(signed, 0.0), np.maximum(-signed, 0.0)
    return latent


moments = st.integers(0, 7 * 86_400 * NS_PER_S).map(lambda offset: START_NS + offset)


@st.composite
def felt(draw: st.DrawFn, law: Dynamics, most: int = 12) -> list[Stimulus]:
    """Stimuli with ids of their own, in no order."""
    drawn = draw(st.lists(st.tuples(moments, latents()), max_size=most))
    return [Stimulus((moment, f"s{number}"), law.impulse(latent)) for number, (moment, latent) in enumerate(drawn)]


def readout() -> Readout:
    """A read-out for the channels above."""
    return Readout([("first", 50.0), ("second", 30.0)], [("mood", 20.0)], CEILINGS, Bands(6.0, 12.0))


def seen(law_state: Vector) -> list[float]:
    """Return the levels and the moods' intensities of a state."""
    reader = readout()
    adapted = reader.adapted(law_state)
    return [level.value for level in reader.levels(adapted)] + [mood.intensity for mood in reader.moods(adapted)]
