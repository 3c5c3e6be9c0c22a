"""Whether what is shipped feels as people would expect: each scenario through the whole law, from the reading to the level."""

from __future__ import annotations

import pytest

from services.state_engine.causes import Cause
from services.state_engine.library import TemperamentLibrary
from services.state_engine.readout import Band, Level
from services.state_engine.temperament import HORMONES
from tests.state_engine import scenarios
from tests.state_engine.scenarios import SCENARIOS, Scenario

LIBRARY = TemperamentLibrary()
CHARACTERS = ("default", "steady", "volatile")


def felt(name: str, causes: tuple[Cause, ...], gap_s: float = 30.0, then_s: float = 0.0) -> dict[str, Level]:
    """Return the levels some seconds after the last of some causes at equal distances."""
    temperament = LIBRARY.named(name)
    state = temperament.dynamics.rest()
    for cause in causes:
        state = temperament.dynamics.advance(state, gap_s) + temperament.impulse(cause)
    levels = temperament.readout.levels(temperament.readout.adapted(temperament.dynamics.advance(state, then_s)))
    return {level.name: level for level in levels}


def distance(level: Level) -> float:
    return level.value - level.baseline


def meets(level: Level, expected: str) -> bool:
    away = distance(level)
    match expected:
        case ".":
            return True
        case "0":
            return abs(away) < 2.0
        case "<":
            return away < 1.0
        case ">":
            return away > -1.0
        case "R":
            return level.band is Band.RISING
        case "F":
            return level.band is Band.FADING
        case "R+":
            return level.band in {Band.RISING, Band.SURGING}
        case "F+":
            return level.band in {Band.FADING, Band.CRASHING}
    size = float(expected)
    return away >= size if size > 0 else away <= size


@pytest.mark.parametrize("scenario", SCENARIOS, ids=[scenario.name for scenario in SCENARIOS])
def test_the_default_feels_as_people_would_expect(scenario: Scenario) -> None:
    levels = felt("default", scenario.causes, scenario.gap_s)

    wrong = {
        hormone: f"{distance(levels[hormone]):+.1f}, not {expected}"
        for hormone, expected in zip(HORMONES, scenario.expected.split(), strict=True)
        if not meets(levels[hormone], expected)
    }
    assert not wrong


@pytest.mark.parametrize("name", CHARACTERS)
@pytest.mark.parametrize("scenario", SCENARIOS, ids=[scenario.name for scenario in SCENARIOS])
def test_every_character_feels_it_in_the_same_direction(name: str, scenario: Scenario) -> None:
    levels = felt(name, scenario.causes, scenario.gap_s)

    for hormone, expected in zip(HORMONES, scenario.expected.split(), strict=True):
        if expected[0] in "R+":
            assert distance(levels[hormone]) > 0.2, hormone
        elif expected[0] in "F-":
            assert distance(levels[hormone]) < -0.2, hormone


@pytest.mark.parametrize("scenario", [one for one in SCENARIOS if len(one.causes) == 1], ids=lambda one: one.name)
def test_the_steady_feel_one_sentence_less_and_the_volatile_more(scenario: Scenario) -> None:
    steady, default, volatile = (felt(name, scenario.causes) for name in ("steady", "default", "volatile"))

    for hormone, expected in zip(HORMONES, scenario.expected.split(), strict=True):
        if expected not in {".", "0", "<", ">"}:
            assert abs(distance(steady[hormone])) < abs(distance(default[hormone])), hormone
            assert abs(distance(default[hormone])) < abs(distance(volatile[hormone])), hormone


@pytest.mark.parametrize("name", CHARACTERS)
def test_an_apology_after_a_quarrel_mends_and_does_not_erase(name: str) -> None:
    quarrel = (scenarios.HATE, scenarios.SHUT_UP)
    silence, apology = felt(name, quarrel, then_s=30.0), felt(name, (*quarrel, scenarios.SORRY))

    assert distance(apology["cortisol"]) < distance(silence["cortisol"]) - 0.5
    assert distance(apology["oxytocin"]) > distance(silence["oxytocin"]) + 0.5
    assert distance(apology["cortisol"]) > 1.0


@pytest.mark.parametrize("name", CHARACTERS)
def test_whiplash_leaves_less_warmth_than_love_and_more_than_hate(name: str) -> None:
    love, hate, both = scenarios.LOVE, scenarios.HATE, felt(name, (scenarios.LOVE, scenarios.HATE))

    assert (
        distance(felt(name, (hate,))["oxytocin"])
        < distance(both["oxytocin"])
        < distance(felt(name, (love,))["oxytocin"])
    )
    assert distance(both["cortisol"]) > distance(felt(name, (love,))["cortisol"]) + 2.0


def test_a_volatile_mood_passes_sooner_and_a_steady_one_later() -> None:
    later = {
        name: distance(felt(name, (scenarios.SHUT_UP,), then_s=3_600.0)["cortisol"])
        / distance(felt(name, (scenarios.SHUT_UP,))["cortisol"])
        for name in CHARACTERS
    }

    assert later["volatile"] < 0.7 * later["default"] < 0.7 * later["steady"]
