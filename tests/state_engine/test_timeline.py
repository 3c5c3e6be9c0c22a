"""The tree: any order of arrival, siblings, late stimuli, past moments, pauses."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from limbic.runtime.clock import NS_PER_S
from services.state_engine.dynamics import Dynamics, Vector
from services.state_engine.folds import Stimulus
from services.state_engine.library import TemperamentLibrary
from services.state_engine.session_time import Pause, SessionTime
from services.state_engine.timeline import Timeline
from services.state_engine.turn_tree import EVERY
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


@given(trees(), st.lists(some.moments, min_size=1, max_size=4), st.randoms(use_true_random=False), st.data())
def test_any_order_of_arrival_gives_the_same_bits(
    case: tuple[Dynamics, Tree], moments: list[int], random: Random, data: st.DataObject
) -> None:
    """Late readings, things taken back, pauses announced late, and questions in between that change nothing."""
    law, tree = case
    pauses = data.draw(st.lists(st.tuples(some.moments, some.moments).map(sorted), max_size=3))
    spans = [Pause(begin, end) for begin, end in pauses]
    on_time = built(law, tree, SessionTime(spans))
    shuffled = Timeline(law)
    for turn, parent, _ in tree:
        shuffled.add_turn(turn, parent)
    turns = [turn for turn, _, _ in tree]
    arrivals: list[Callable[[], None]] = [
        partial(shuffled.add_stimulus, turn, stimulus) for turn, _, own in tree for stimulus in own
    ]
    arrivals += [partial(_felt_and_taken_back, shuffled, law, turn, moment) for turn in turns for moment in moments]
    random.shuffle(arrivals)
    known: list[Pause] = []
    for number, arrive in enumerate(arrivals):
        arrive()
        shuffled.state(random.choice(turns), random.choice(moments))
        if number < len(spans):
            known.append(spans[number])
            shuffled.set_time(SessionTime(known), spans[number].from_ns)
    for span in spans[len(known) :]:
        known.append(span)
        shuffled.set_time(SessionTime(known), span.from_ns)

    for turn in turns:
        curve = list(on_time.states(turn, sorted(moments)))
        for moment, on_curve in zip(sorted(moments), curve, strict=True):
            expected = on_time.state(turn, moment).tobytes()
            assert shuffled.state(turn, moment).tobytes() == expected == on_curve.tobytes()


def _felt_and_taken_back(timeline: Timeline, law: Dynamics, turn_id: str, moment_ns: int) -> None:
    timeline.add_stimulus(turn_id, Stimulus((moment_ns, "mistake"), law.impulse(np.linspace(0.0, 9.0, law.size))))
    timeline.state(turn_id, moment_ns)
    timeline.remove_stimulus(turn_id, "mistake")


@settings(max_examples=30)
@given(st.integers(0, 2**32), st.booleans())
def test_a_turn_with_many_stimuli_is_folded_as_any_other(seed: int, early: bool) -> None:
    """More than are folded between two marks, in any order, below a turn whose own stimulus lies before or between them."""
    law = TemperamentLibrary().named("default").dynamics
    random = Random(seed)
    stimuli = [
        Stimulus((START_NS + random.randrange(10**13), f"s{number}"), law.impulse(np.full(law.size, random.random())))
        for number in range(100)
    ]
    moments = sorted(START_NS + random.randrange(10**13) for _ in range(5))
    parent = Stimulus((START_NS if early else START_NS + 5 * 10**12, "parent"), law.impulse(np.ones(law.size)))
    timelines = Timeline(law), Timeline(law)
    for timeline, arrivals in zip(timelines, (sorted(stimuli, key=lambda one: one.key), stimuli), strict=True):
        timeline.add_turn("t", "")
        timeline.add_turn("u", "t")
        for number, stimulus in enumerate(arrivals):
            timeline.add_stimulus("u", stimulus)
            if number % 7 == 0:
                timeline.state("u", random.choice(moments))
            if number == 50:
                timeline.add_stimulus("t", parent)
            if number % 30 == 29:
                _felt_and_taken_back(timeline, law, "u", START_NS + random.randrange(10**13))

    for moment in moments:
        in_order, shuffled = (timeline.state("u", moment) for timeline in timelines)
        assert in_order.tobytes() == shuffled.tobytes()
        assert np.allclose(in_order, by_the_sum(law, [parent, *stimuli], moment), rtol=1e-9, atol=1e-9)


@settings(max_examples=60)
@given(st.integers(0, 2**32))
def test_what_is_taken_back_among_many_leaves_no_trace_though_their_turn_does_not_begin_after_its_parent(
    seed: int,
) -> None:
    law = TemperamentLibrary().named("default").dynamics
    random = Random(seed)

    def some(name: str, count: int) -> list[Stimulus]:
        impulse = law.impulse(np.full(law.size, 1.0 + random.random()))
        return [Stimulus((START_NS + random.randrange(10**13), f"{name}{number}"), impulse) for number in range(count)]

    above, many = some("above", random.randrange(1, 4)), some("own", 100)
    lived = built(law, [("t", "", above), ("u", "t", many)])
    for _ in range(6):
        lived.state("u", START_NS + random.randrange(2 * 10**13))
        gone = many.pop(random.randrange(len(many)))
        lived.remove_stimulus("u", gone.key[1])
        fresh = built(law, [("t", "", above), ("u", "t", many)])
        for moment in (START_NS + random.randrange(10**13), START_NS + 10**13):
            (expected,) = fresh.states("u", [moment])
            assert lived.state("u", moment).tobytes() == expected.tobytes()


@settings(max_examples=15)
@given(st.integers(0, 2**32))
def test_long_branches_with_much_that_is_late_have_the_bits_of_those_on_time(seed: int) -> None:
    """Late in both senses: learned of late, and having happened long after the turns that follow."""
    law = TemperamentLibrary().named("default").dynamics
    random = Random(seed)
    tree: Tree = []
    for number in range(150):
        parent = "" if number == 0 else f"t{max(0, number - random.choice((1, 1, 1, 1, 1, 40)))}"
        at = START_NS + number * 60 * NS_PER_S
        tree.append((f"t{number}", parent, [Stimulus((at, f"s{number}"), law.impulse(np.full(law.size, 1.0)))]))
    late = [
        (
            random.choice(tree)[0],
            Stimulus((START_NS + random.randrange(10**13), f"late{number}"), law.impulse(np.full(law.size, 2.0))),
        )
        for number in range(12)
    ]
    lived = built(law, tree)
    for turn, stimulus in late:
        lived.add_stimulus(turn, stimulus)
        for _ in range(2):
            lived.state(random.choice(tree)[0], START_NS + random.randrange(10**13))
    on_time = built(law, [(turn, parent, own + [one for at, one in late if at == turn]) for turn, parent, own in tree])

    for turn in (random.choice(tree)[0] for _ in range(20)):
        for moment in (START_NS + random.randrange(10**13), START_NS + 10**13):
            curve = next(on_time.states(turn, [moment]))
            assert lived.state(turn, moment).tobytes() == curve.tobytes()


def test_a_long_conversation_answers_about_any_moment_without_walking_through_it() -> None:
    law = CountedDynamics(("only",), np.array([[-math.log(2.0) / 600.0]]), 3.0)
    timeline = Timeline(law)
    for number in range(10_000):
        timeline.add_turn(f"t{number}", f"t{number - 1}" if number else "")
        timeline.add_stimulus(f"t{number}", Stimulus((START_NS + number * NS_PER_S, f"s{number}"), law.impulse(ONE)))
    law.steps = 0

    for back in (0, 1, 10, 5_000, 9_999):
        timeline.state("t9999", START_NS + (9_999 - back) * NS_PER_S)
        assert law.steps <= (EVERY + 1 if back else 1), (
            "one step for the present, and for the past those between milestones"
        )
        law.steps = 0
    timeline.add_stimulus("t9989", Stimulus((START_NS + 9_989 * NS_PER_S + 1, "late"), law.impulse(ONE)))
    timeline.state("t9999", START_NS + 9_999 * NS_PER_S)
    assert law.steps <= 13, "a late reading costs what stands after it"
    timeline.add_stimulus("t5000", Stimulus((START_NS + 5_000 * NS_PER_S + 1, "very late"), law.impulse(ONE)))
    law.steps = 0
    timeline.state("t9999", START_NS + 9_999 * NS_PER_S)
    assert 5_000 <= law.steps <= 5_001 + EVERY


def test_what_is_felt_now_at_a_turn_long_past_costs_one_walk_and_not_one_for_each_turn() -> None:
    law = CountedDynamics(("only",), np.array([[-math.log(2.0) / 600.0]]), 3.0)
    timeline = Timeline(law)

    def say(number: int) -> None:
        timeline.add_turn(f"t{number}", f"t{number - 1}" if number else "")
        timeline.add_stimulus(f"t{number}", Stimulus((START_NS + number * NS_PER_S, f"s{number}"), law.impulse(ONE)))

    for number in range(2_000):
        say(number)
    law.steps = 0

    timeline.add_stimulus("t5", Stimulus((START_NS + 2_000 * NS_PER_S, "now"), law.impulse(ONE)))
    first = timeline.state("t1999", START_NS + 2_001 * NS_PER_S)
    assert law.steps < 6_000
    say(2_000)
    say(2_001)
    say(2_002)
    timeline.add_stimulus("t5", Stimulus((START_NS + 2_000 * NS_PER_S + 1, "once more"), law.impulse(ONE)))
    again = timeline.state("t2002", START_NS + 2_003 * NS_PER_S)
    assert law.steps < 12_000

    assert first[0] == pytest.approx(sum(0.5 ** ((2_001 - number) / 600.0) for number in (*range(2_000), 2_000)))
    elapsed = [2_003 - number for number in (*range(2_003), 2_000, 2_000)]
    assert again[0] == pytest.approx(sum(0.5 ** (seconds / 600.0) for seconds in elapsed))


ONE = np.array([1.0])


class CountedDynamics(Dynamics):
    """Counts the steps that are taken."""

    steps = 0

    def advance(self, state: Vector, seconds: float) -> Vector:
        self.steps += 1
        return super().advance(state, seconds)


def test_what_is_not_there_cannot_be_taken_back() -> None:
    timeline = Timeline(Dynamics(("only",), np.array([[-1.0]]), 2.0))
    timeline.add_turn("t", "")

    with pytest.raises(KeyError):
        timeline.remove_stimulus("t", "nothing")
    with pytest.raises(KeyError):
        timeline.remove_stimulus("nowhere", "nothing")


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
