"""The tree: any order of arrival, siblings, late stimuli, past moments, pauses."""

from __future__ import annotations

from itertools import pairwise
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from limbic.runtime.clock import NS_PER_S
from services.state_engine.dynamics import Dynamics, Vector
from services.state_engine.session_time import Pause, SessionTime
from services.state_engine.timeline import Stimulus, Timeline
from tests.state_engine import strategies as some
from tests.state_engine.parts import START_NS

Tree = list[tuple[str, str, list[Stimulus]]]
"""Turns in an order in which parents come first: id, parent, own stimuli."""


@st.composite
def trees(draw: st.DrawFn) -> tuple[Dynamics, Tree]:
    law = draw(some.dynamics())
    stimuli = draw(some.felt(law))
    tree: Tree = []
    for number in range(draw(st.integers(1, 6))):
        parent = draw(st.sampled_from(["", *(turn for turn, _, _ in tree)]))
        tree.append((f"t{number}", parent, []))
    for stimulus in stimuli:
        draw(st.sampled_from(tree))[2].append(stimulus)
    return law, tree


def path_of(tree: Tree, turn_id: str) -> list[Stimulus]:
    parents = {turn: (parent, own) for turn, parent, own in tree}
    found: list[Stimulus] = []
    while turn_id:
        turn_id, own = parents[turn_id]
        found += own
    return found


def by_the_sum(law: Dynamics, stimuli: list[Stimulus], moment_ns: int) -> Vector:
    """Formula (1) of dynamics.py, term by term."""
    state = law.rest()
    for stimulus in stimuli:
        if stimulus.key[0] <= moment_ns:
            state = state + law.advance(stimulus.impulse, (moment_ns - stimulus.key[0]) / NS_PER_S)
    return state


def built(law: Dynamics, tree: Tree, time: SessionTime | None = None) -> Timeline:
    timeline = Timeline(law) if time is None else Timeline(law, time)
    for turn, parent, own in tree:
        timeline.add_turn(turn, parent)
        for stimulus in own:
            timeline.add_stimulus(turn, stimulus)
    return timeline


@given(trees(), some.moments)
def test_a_state_is_the_sum_over_its_own_path_at_any_moment(case: tuple[Dynamics, Tree], moment: int) -> None:
    law, tree = case
    timeline = built(law, tree)

    for turn, _, _ in tree:
        expected = by_the_sum(law, path_of(tree, turn), moment)

        assert np.allclose(some.seen(timeline.state(turn, moment)), some.seen(expected), rtol=0, atol=1e-9)


@given(trees(), some.moments, st.randoms(use_true_random=False))
def test_any_order_of_arrival_gives_the_same_bits(case: tuple[Dynamics, Tree], moment: int, random: Random) -> None:
    law, tree = case
    on_time = built(law, tree)
    late = Timeline(law)
    for turn, parent, _ in tree:
        late.add_turn(turn, parent)
    arrivals = [(turn, stimulus) for turn, _, own in tree for stimulus in own]
    random.shuffle(arrivals)
    for turn, stimulus in arrivals:
        late.add_stimulus(turn, stimulus)

    for turn, _, _ in tree:
        assert late.state(turn, moment).tobytes() == on_time.state(turn, moment).tobytes()


@given(trees(), some.moments, st.data())
def test_a_sibling_feels_nothing_of_it(case: tuple[Dynamics, Tree], moment: int, data: st.DataObject) -> None:
    law, tree = case
    timeline = built(law, tree)
    target = data.draw(st.sampled_from([turn for turn, _, _ in tree]))
    elsewhere = [turn for turn, _, _ in tree if target not in timeline.path(turn)]
    before = [timeline.state(turn, moment).tobytes() for turn in elsewhere]

    timeline.add_stimulus(target, Stimulus((START_NS, "late"), law.impulse(np.array([9.0, 0.0, 0.0, 9.0, 0.0]))))

    assert [timeline.state(turn, moment).tobytes() for turn in elsewhere] == before


@given(trees(), some.moments, st.integers(1, 10**15))
def test_what_happens_later_does_not_change_the_past(case: tuple[Dynamics, Tree], moment: int, ahead: int) -> None:
    law, tree = case
    timeline = built(law, tree)
    turn = tree[-1][0]
    before = timeline.state(turn, moment).tobytes()

    timeline.add_stimulus(turn, Stimulus((moment + ahead, "later"), law.impulse(np.array([9.0, 0.0, 0.0, 9.0, 0.0]))))

    assert timeline.state(turn, moment).tobytes() == before


@given(some.dynamics(), st.data())
def test_what_is_felt_at_the_root_is_felt_everywhere(law: Dynamics, data: st.DataObject) -> None:
    timeline = Timeline(law)
    timeline.add_turn("a", "")
    timeline.add_turn("b", "a")
    stimuli = data.draw(some.felt(law))
    for number, stimulus in enumerate(stimuli):
        timeline.add_stimulus(("", "a", "b")[number % 3], stimulus)
    end = START_NS + 8 * 86_400 * NS_PER_S

    assert np.allclose(some.seen(timeline.state("b", end)), some.seen(by_the_sum(law, stimuli, end)), rtol=0, atol=1e-9)
    assert np.allclose(
        some.seen(timeline.state("", end)), some.seen(by_the_sum(law, stimuli[::3], end)), rtol=0, atol=1e-9
    )


@given(some.dynamics(), st.data(), st.integers(1, 400 * 86_400))
def test_a_session_reads_after_a_pause_as_it_did_before(law: Dynamics, data: st.DataObject, length_s: int) -> None:
    stimuli = data.draw(some.felt(law))
    begin = START_NS + 8 * 86_400 * NS_PER_S
    end = begin + length_s * NS_PER_S
    paused = built(law, [("t", "", stimuli)], SessionTime([Pause(begin, end)]))
    running = built(law, [("t", "", stimuli)])

    assert paused.state("t", end).tobytes() == paused.state("t", begin).tobytes()
    assert paused.state("t", end + 5 * NS_PER_S).tobytes() == running.state("t", begin + 5 * NS_PER_S).tobytes()


@given(
    st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 10**6)), max_size=5),
    st.tuples(st.integers(0, 10**6), st.integers(0, 10**6)),
)
def test_session_time_runs_outside_of_pauses_only(spans: list[tuple[int, int]], query: tuple[int, int]) -> None:
    pauses = [Pause(min(span) * NS_PER_S, max(span) * NS_PER_S) for span in spans]
    start, end = min(query), max(query)
    edges = sorted({start, end, *(edge for span in spans for edge in span if start < edge < end)})
    running = sum(
        late - early
        for early, late in pairwise(edges)
        if not any(min(span) <= early and late <= max(span) for span in spans)
    )

    assert SessionTime(pauses).elapsed_s(start * NS_PER_S, end * NS_PER_S) == running


def test_an_open_pause_has_no_end() -> None:
    time = SessionTime([Pause(10 * NS_PER_S)])

    assert time.elapsed_s(0, 10_000 * NS_PER_S) == 10.0
    with pytest.raises(ValueError, match="before it begins"):
        Pause(2, 1)


def test_a_turn_is_added_once_and_after_one_that_is_there() -> None:
    timeline = Timeline(Dynamics(("only",), np.array([[-1.0]]), 2.0))
    timeline.add_turn("a", "")

    with pytest.raises(ValueError, match="once"):
        timeline.add_turn("a", "")
    with pytest.raises(KeyError):
        timeline.add_turn("b", "nowhere")
    with pytest.raises(KeyError):
        timeline.add_turn("b", "b")
    assert list(timeline.path("a")) == ["a"]
    assert "b" not in timeline
