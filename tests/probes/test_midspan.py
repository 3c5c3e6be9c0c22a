from __future__ import annotations

import math
from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st

from limbic.probes.gates import load_gates, verdicts
from limbic.probes.levels import AT_REST, Distances, Reading
from limbic.probes.midspan import SpanCourse, SpanSeen, round_figures, worst
from limbic.probes.run_midspan import concluded_rounds
from limbic.probes.script import suite_text
from limbic.probes.spans import READERS, Span, parse_pools, spans
from services.state_engine.temperament import parse_temperament
from tests.probes.parts import SHIPPED, warm_bias
from tests.probes.test_validation import as_a_person, as_cause

GATES = load_gates()
TURNS = 80
"""Of the long conversations: enough for the law to show, and a test's worth of time."""

POOLS = parse_pools(suite_text("mid-span.toml"))
WARM = Reading(0.6, 0.6, -0.1, 0.65, {"love": 0.8})
HURTFUL = Reading(-0.6, 0.1, 0.6, 0.65, {"anger": 0.8})

Head = Callable[[str], Reading]


def sound(text: str) -> Reading:
    """Read what the suite says as its pools say it is meant."""
    if text in POOLS.sentences["warm"]:
        return WARM
    if text in POOLS.sentences["hurtful"] or text in POOLS.sentences["hostile"]:
        return HURTFUL
    evening = dict(POOLS.evening)
    return as_a_person(evening.get(text, READERS["neutral"]))


def biased(text: str) -> Reading:
    """Hear a little threat in everything."""
    reading = sound(text)
    return Reading(reading.valence, reading.intimacy, reading.tension + 0.3, 0.65, reading.emotions)


def see(span: Span, head: Head, temperament: str | None) -> SpanSeen:
    law = parse_temperament("default", temperament or SHIPPED.read_text("utf-8"), "default.toml")

    def standing(state: object) -> Distances:
        levels = law.readout.levels(law.readout.adapted(state))  # type: ignore[arg-type]
        return {level.name: level.value - level.baseline for level in levels}

    def run(readings: list[Reading]) -> SpanCourse:
        state, at, before, after, moods = law.dynamics.rest(), 0.0, [], [], []
        for moment, reading in zip(span.at_s, readings, strict=True):
            state, at = law.dynamics.advance(state, moment - at), moment
            before.append(standing(state))
            state = state + law.impulse(as_cause(reading))
            after.append(standing(state))
            moods.append({mood.name: mood.intensity for mood in law.readout.moods(law.readout.adapted(state))})
        tail = [standing(law.dynamics.advance(state, later)) for later in span.tail_s]
        return SpanCourse(before, after, tail, moods)

    readings = [head(text) for text in span.says]
    return SpanSeen(readings, run(readings), run([as_a_person(reader) for reader in span.readers]))


def both_figures(head: Head = sound, temperament: str | None = None) -> tuple[dict[str, float], dict[str, float]]:
    plans = spans(POOLS, 1, TURNS)
    return round_figures(plans, {span.name: see(span, head, temperament) for span in plans})


def figures(head: Head = sound, temperament: str | None = None) -> dict[str, float]:
    return both_figures(head, temperament)[0]


def failed(found: dict[str, float]) -> set[str]:
    judged = verdicts(GATES.by_suite["mid-span"], {**found, "rounds_in_a_row": float(GATES.rounds)})
    return {verdict.gate.measure for verdict in judged if not verdict.passed}


def test_a_sound_system_passes_every_gate() -> None:
    assert failed(figures()) == set()


def test_a_temperament_that_forgets_at_once_fails() -> None:
    text = SHIPPED.read_text("utf-8")
    for half_life in ("3600", "1800", "4500", "2400", "3000", "5400", "2700", "720", "600"):
        text = text.replace(f"half_life_s = {half_life}.0", f"half_life_s = {int(half_life) / 60}")

    assert {"warm.left_after_10_min", "hurtful.left_after_10_min"} <= failed(figures(temperament=text))


def test_a_temperament_that_never_lets_go_fails() -> None:
    text = SHIPPED.read_text("utf-8").replace("rise_half_life_s = 3000.0", "rise_half_life_s = 300000.0")

    found = both_figures(temperament=text)

    assert {"hurtful.left_after_12_h", "flood.left_after_24_h"} <= failed(found[0])
    lasting = [
        one for one in concluded_rounds([found], GATES, {}).misses if one.what.startswith("hurtful.left_after_12_h")
    ]
    assert [one.address for one in lasting] == ["engine"]


def test_a_warm_bias_fails() -> None:
    found = figures(
        lambda text: Reading(-0.6, 0.5, 0.5, 0.65, {}) if text in POOLS.sentences["hostile"] else sound(text),
        warm_bias(),
    )

    assert "flood.oxytocin" in failed(found)


def test_a_head_that_hears_threats_in_small_talk_fails_and_the_miss_is_the_heads() -> None:
    found = both_figures(biased)

    assert {"neutral.farthest", "neutral.drift"} <= failed(found[0])
    assert {miss.address for miss in concluded_rounds([found], GATES, {}).misses} == {"head"}


def test_rounds_must_pass_in_a_row() -> None:
    good, bad = both_figures(), both_figures(biased)

    assert concluded_rounds([good, good, good], GATES, {}).figures["rounds_in_a_row"] == 3
    assert concluded_rounds([good, good, bad], GATES, {}).figures["rounds_in_a_row"] == 0
    assert concluded_rounds([bad, good, good], GATES, {}).figures["rounds_in_a_row"] == 2


@given(st.lists(st.fixed_dictionaries({"low": st.floats(-9, 9), "high": st.floats(-9, 9)}), min_size=1, max_size=5))
def test_the_worst_of_some_rounds_is_no_better_than_any_of_them(rounds: list[dict[str, float]]) -> None:
    found = worst(rounds, {"low": True, "high": False})

    assert all(found["low"] <= one["low"] and found["high"] >= one["high"] for one in rounds)


def test_what_one_round_could_not_measure_is_not_measured() -> None:
    assert math.isnan(worst([{"x": 1.0}, {"x": math.nan}], {})["x"])


def test_a_character_that_nothing_moves_fails() -> None:
    plans = spans(POOLS, 1, TURNS)
    seen = {}
    for span in plans:
        still = [AT_REST] * len(span.says)
        course = SpanCourse(still, still, [AT_REST] * len(span.tail_s), [{"contentment": 0.0}] * len(span.says))
        seen[span.name] = SpanSeen([None] * len(span.says), course, course)
    found, _ = round_figures(plans, seen)

    assert math.isnan(found["warm.left_after_1_h"])
    assert found["unread"] == sum(len(span.says) for span in plans)
    assert {"warm.moved", "unread", "pace.correlation"} <= failed(found)
