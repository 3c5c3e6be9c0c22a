"""What a state is made of: the sum, the order, the axes, the half-lives, the words."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from limbic.runtime.clock import NS_PER_S
from limbic.state.v1 import state_pb2
from services.state_engine.appraisal import split, split_parts
from services.state_engine.causes import Cause, Emotions, Event, Reading
from services.state_engine.dynamics import Dynamics
from services.state_engine.explanation import axis_shares, break_down
from services.state_engine.folds import Stimulus
from services.state_engine.library import TemperamentLibrary
from services.state_engine.readout import squash
from services.state_engine.timeline import Timeline
from tests.state_engine import strategies as some
from tests.state_engine.calls import felt, opened, said, state_at
from tests.state_engine.parts import START_NS, Running, SetClock, refused, running_engine

LIBRARY = TemperamentLibrary()
END_NS = START_NS + 8 * 86_400 * NS_PER_S

axes = st.floats(-1.0, 1.0)
causes = st.one_of(
    st.builds(
        Reading,
        axes,
        axes,
        axes,
        st.floats(0.0, 1.0),
        emotions=st.sampled_from([Emotions(), Emotions(("fear", "love"), (0.7, 0.4), (True, True))]),
    ),
    st.builds(Event, st.sampled_from(("reward", "stress", "affection")), st.floats(0.0, 1.0)),
)


@given(st.sampled_from(LIBRARY.names), st.lists(st.tuples(some.moments, causes), max_size=10), st.integers(0, 12))
def test_contributions_and_remainder_are_the_state_before_the_squash(
    name: str, drawn: list[tuple[int, Cause]], limit: int
) -> None:
    temperament = LIBRARY.named(name)
    timeline = Timeline(temperament.dynamics)
    timeline.add_turn("t", "")
    for number, (moment, cause) in enumerate(drawn):
        timeline.add_stimulus("t", Stimulus((moment, f"s{number}"), temperament.impulse(cause)))
    state, what = timeline.state("t", END_NS), timeline.felt("t", END_NS)
    ages = [(END_NS - moment_ns) / NS_PER_S for moment_ns in what.moments_ns]

    breakdown = break_down(temperament, state, what, ages, limit)

    assert len(breakdown.largest) == min(limit, len(drawn))
    parts = [one.shares for one in breakdown.largest] + [breakdown.remainder]
    readout = temperament.readout
    adapted = readout.adapted(state)
    for index, level in enumerate(readout.levels(adapted)):
        distance = math.fsum(part.levels[index] for part in parts)
        assert squash(level.baseline, distance) == pytest.approx(level.value, abs=1e-9)
    for index, mood in enumerate(readout.moods(adapted)):
        assert math.tanh(math.fsum(part.moods[index] for part in parts)) == pytest.approx(mood.intensity, abs=1e-9)
    by_id = {f"s{number}": (moment, cause) for number, (moment, cause) in enumerate(drawn)}
    for one in breakdown.largest:
        moment, cause = by_id[one.stimulus_id]
        by_axis = axis_shares(temperament, state, cause, (END_NS - moment) / NS_PER_S).values()
        assert np.allclose(sum(np.array(share.levels) for share in by_axis), one.shares.levels, rtol=0, atol=1e-9)
        assert np.allclose(sum(np.array(share.moods) for share in by_axis), one.shares.moods, rtol=0, atol=1e-9)


@given(st.lists(st.lists(st.floats(-20.0, 20.0), min_size=5, max_size=5), min_size=1, max_size=5))
def test_parts_add_up_to_the_impulse_and_never_change_channels(parts: list[list[float]]) -> None:
    gains = [tuple(part) for part in parts]
    whole = tuple(np.array(parts).sum(axis=0).tolist())

    latents = split_parts(gains, 14)

    assert np.allclose(latents.sum(axis=0), split(whole, 14), rtol=0, atol=1e-12)


@given(some.dynamics(), st.data(), st.floats(0.0, 200_000.0))
def test_at_the_half_life_left_half_has_gone(law: Dynamics, data: st.DataObject, age_s: float) -> None:
    latents = np.stack([data.draw(some.latents()), data.draw(some.latents()), np.zeros(law.size)])
    left = law.remaining(latents, np.full(3, age_s))

    times = law.half_lives(left, some.FAST)

    sizes = np.abs(left[:, : some.FAST]).sum(axis=1)
    later = np.abs(law.remaining(left, times)[:, : some.FAST]).sum(axis=1)
    there = sizes > 1e-300  # below, a float has no half
    assert np.allclose(later[there] / sizes[there], 0.5, rtol=0, atol=1e-6)
    assert (times[sizes == 0.0] == 0.0).all()


def test_a_channel_of_its_own_has_its_own_half_life_however_old_it_is() -> None:
    law = Dynamics(("only",), np.array([[-math.log(2.0) / 600.0]]), 3.0)
    latents = np.array([[8.0], [1e-300]])

    assert law.half_lives(law.remaining(latents, np.array([0.0, 1e4])), 1) == pytest.approx([600.0, 600.0])


def test_many_at_once_advance_as_each_alone() -> None:
    for law in (
        LIBRARY.named("default").dynamics,
        Dynamics(("fast", "slow"), np.array([[-0.1, 0.0], [0.1, -0.1]]), 2.0),
    ):
        rows = np.linspace(0.1, 2.0, 3 * law.size).reshape(3, law.size)
        seconds = np.array([0.0, 7.5, 3_600.0])

        together = law.remaining(rows, seconds)

        for row, elapsed, left in zip(rows, seconds, together, strict=True):
            alone = law.advance(law.impulse(row), float(elapsed))[: law.size]
            assert np.allclose(left, alone, rtol=0, atol=1e-12)


def shares(contribution: state_pb2.Contribution) -> dict[str, float]:
    return {share.name: share.value for share in contribution.levels}


async def test_the_largest_comes_first_with_its_words(engine: Running) -> None:
    await opened(engine)
    await said(engine, "mild", felt("mild", -0.3, 0.3))
    await said(engine, "strong", felt("strong", -0.9, 0.9))
    await said(engine, "old", felt("old", -0.9, 0.9))
    await said(engine, "sibling", felt("elsewhere"), parent="mild")
    engine.clock.pass_s(60)

    request = state_pb2.ExplainRequest(session_id="s", turn_id="old", limit=2)
    explained = await engine.stub.Explain(request)

    assert explained.state == await state_at(engine, "old")
    assert [one.stimulus_id for one in explained.contributions] == ["old", "strong"]
    first = explained.contributions[0]
    assert (first.turn_id, first.text) == ("old", "words of old")
    assert first.occurred_at.ToNanoseconds() == START_NS
    assert shares(first)["cortisol"] > 0 > shares(first)["dopamine"]
    cortisol = next(share for share in first.levels if share.name == "cortisol")
    assert {part.axis for part in cortisol.axes} == {"valence", "tension"}
    assert sum(part.value for part in cortisol.axes) == pytest.approx(cortisol.value)
    assert 500 < first.half_life_left.seconds < 3_600
    assert explained.remainder.stimulus_id == ""
    assert 0 < shares(explained.remainder)["cortisol"] < shares(first)["cortisol"]
    assert [mood.name for mood in first.moods] == [mood.name for mood in explained.state.moods]


async def test_a_state_at_rest_is_made_of_nothing(engine: Running) -> None:
    await opened(engine)

    explained = await engine.stub.Explain(state_pb2.ExplainRequest(session_id="s"))

    assert not explained.contributions
    assert set(shares(explained.remainder).values()) == {0.0}


async def test_an_event_explains_itself_and_words_that_are_not_kept_are_not_shown(
    journal_path: Path, clock: SetClock
) -> None:
    async with running_engine(journal_path, clock) as engine:
        await opened(engine, keep_text=False)
        gift = state_pb2.Stimulus(stimulus_id="gift", event=state_pb2.Event(name="reward"))
        await engine.stub.AddStimulus(state_pb2.AddStimulusRequest(session_id="s", stimulus=gift))
        await said(engine, "t", felt("f", 0.1, 0.0))

        explained = await engine.stub.Explain(state_pb2.ExplainRequest(session_id="s"))

    assert [(one.stimulus_id, one.turn_id, one.text) for one in explained.contributions] == [
        ("gift", "", ""),
        ("f", "t", ""),
    ]
    assert [part.axis for part in explained.contributions[0].levels[0].axes] == ["reward"]


@pytest.mark.parametrize("limit", [1_001, 2**32 - 1])
async def test_more_than_so_many_are_not_told_apart(engine: Running, limit: int) -> None:
    await opened(engine)

    failure = await refused(engine.stub.Explain(state_pb2.ExplainRequest(session_id="s", limit=limit)))

    assert failure.message.startswith("limit:")
