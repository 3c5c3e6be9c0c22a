"""The scoring, on systems that are made up: a sound one, and ones with a known fault, whose misses must have the right address."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from limbic.probes.gates import load_gates, verdicts
from limbic.probes.levels import AT_REST, AXES, HORMONES, Course, Reading
from limbic.probes.run import Found
from limbic.probes.run_validation import judged
from limbic.probes.script import Conversation, Reader, load_conversations, load_triads
from limbic.probes.validation import Seen, check_conversation
from services.state_engine.causes import Emotions
from services.state_engine.causes import Reading as Cause
from services.state_engine.temperament import parse_temperament
from tests.probes.parts import SHIPPED, warm_bias

GATES = load_gates()
CONFIDENCE = 0.65

Head = Callable[[Reader], Reading]


def as_a_person(reader: Reader) -> Reading:
    """A head that reads as a person does."""
    valence, intimacy, tension = (reader.axes[axis] or 0.0 for axis in AXES)
    return Reading(valence, intimacy, tension, CONFIDENCE, dict(reader.voices))


def intimacy_from_valence(reader: Reader) -> Reading:
    sound = as_a_person(reader)
    return Reading(sound.valence, sound.valence, sound.tension, sound.confidence, sound.emotions)


def swapped(reader: Reader) -> Reading:
    sound = as_a_person(reader)
    return Reading(sound.tension, sound.intimacy, sound.valence, sound.confidence, sound.emotions)


def turned(reader: Reader) -> Reading:
    sound = as_a_person(reader)
    return Reading(-sound.valence, sound.intimacy, sound.tension, sound.confidence, sound.emotions)


def stuck(reader: Reader) -> Reading:
    return Reading(0.4, 0.3, -0.1, CONFIDENCE, {})


class Engine:
    """The law of a temperament, without a journal, a clock or a server."""

    def __init__(self, text: str | None = None) -> None:
        text = text or SHIPPED.read_text("utf-8")
        self._temperament = parse_temperament("default", text, "default.toml")

    def course(self, script: Conversation, readings: list[Reading]) -> Course:
        law = self._temperament.dynamics
        state = law.rest()
        before, after = [], []
        for index, (turn, reading) in enumerate(zip(script.turns, readings, strict=True)):
            if index and not turn.announced:
                state = law.advance(state, turn.gap_s)
            before.append(self._distances(state))
            state = state + self._temperament.impulse(as_cause(reading))
            after.append(self._distances(state))
        return Course(before, after)

    def _distances(self, state: Any) -> dict[str, float]:
        readout = self._temperament.readout
        return {level.name: level.value - level.baseline for level in readout.levels(readout.adapted(state))}


def as_cause(reading: Reading) -> Cause:
    labels, probabilities = tuple(reading.emotions), tuple(reading.emotions.values())
    voiced = Emotions(labels, probabilities, (True,) * len(labels))
    return Cause(reading.valence, reading.intimacy, reading.tension, reading.confidence, emotions=voiced)


def see(script: Conversation, head: Head, engine: Engine) -> Seen:
    readers = [turn.reader for turn in script.turns]
    said = [head(reader) for reader in readers]
    person = [as_a_person(reader) for reader in readers]
    return Seen(said, engine.course(script, said), engine.course(script, person))


def probe(head: Head = as_a_person, temperament: str | None = None) -> Found:
    """Judge a made-up system by the whole suite."""
    conversations, triads = load_conversations(), load_triads()
    engine = Engine(temperament)
    scripts = [*conversations, *(variant for triad in triads for variant in triad.variants.values())]
    return judged(conversations, triads, {script.name: see(script, head, engine) for script in scripts}, GATES)


def failed(found: Found) -> set[str]:
    return {
        verdict.gate.measure
        for verdict in verdicts(GATES.by_suite["affect-validation"], found.figures)
        if not verdict.passed
    }


def addresses(found: Found) -> set[str]:
    return {miss.address for miss in found.misses}


def test_a_system_that_reads_as_people_do_passes_every_gate() -> None:
    found = probe()

    assert failed(found) == set()
    assert addresses(found) == set()
    assert found.figures["head.signs"] == found.figures["head.order"] == 1.0


def test_a_warm_bias_fails_the_engines_gates_and_all_its_misses_are_the_engines() -> None:
    found = probe(temperament=warm_bias())

    assert {"engine.turns", "engine.order"} & failed(found)
    assert addresses(found) == {"engine"}
    assert found.figures["head.signs"] == 1.0
    assert any("oxytocin" in miss.what for miss in found.misses)


@pytest.mark.parametrize(
    ("head", "gate"),
    [
        (intimacy_from_valence, "head.coupling"),
        (intimacy_from_valence, "head.signs.intimacy"),
        (swapped, "head.signs.valence"),
        (swapped, "head.signs.tension"),
        (turned, "head.signs.valence"),
        (stuck, "head.signs"),
        (stuck, "head.order"),
    ],
)
def test_a_broken_head_fails_its_own_gate_and_all_misses_are_the_heads(head: Head, gate: str) -> None:
    found = probe(head)

    assert gate in failed(found)
    assert addresses(found) == {"head"}
    assert found.figures["engine.turns"] == found.figures["engine.order"] == 1.0


def test_a_head_that_is_silent_is_counted_and_its_misses_are_nobodys_reading() -> None:
    script = load_conversations()[0]
    person = [as_a_person(turn.reader) for turn in script.turns]
    nothing = Course([AT_REST] * len(person), [AT_REST] * len(person))
    seen = Seen([None] * len(person), nothing, Engine().course(script, person))

    checks = check_conversation(script, seen, GATES.margins, GATES.head)

    assert {check.address for check in checks if check.part == "whole" and not check.held} == {"unread"}
    assert all(check.held for check in checks if check.part == "engine")


@given(
    st.lists(st.sampled_from(load_conversations()), min_size=1, max_size=3, unique_by=lambda one: one.name), st.data()
)
def test_every_miss_of_the_whole_has_one_address_and_what_holds_has_none(
    scripts: list[Conversation], data: st.DataObject
) -> None:
    level = st.floats(-40.0, 40.0)
    for script in scripts:
        turns = len(script.turns)
        drawn = st.lists(st.fixed_dictionaries(dict.fromkeys(HORMONES, level)), min_size=turns, max_size=turns)
        courses = [Course(data.draw(drawn), data.draw(drawn)) for _ in range(2)]
        readings = [as_a_person(turn.reader) for turn in script.turns]

        for check in check_conversation(script, Seen(readings, *courses), GATES.margins, GATES.head):
            if check.part == "head":
                assert check.held
            assert (check.address == "") == (check.held or check.part == "head")
            assert check.address in ("", "head", "engine")
