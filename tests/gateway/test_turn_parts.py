"""The small parts of a turn, each by itself."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.ids import derived, reading_id, reply_id
from gateway.merge import with_late_item
from gateway.states import LastStates, at_rest
from gateway.telemetry import quantile
from gateway.transcripts import Transcripts, Utterance
from limbic.runtime.validate import identifier
from limbic.state.v1 import state_pb2
from tests.gateway.fakes import settle

USER, ASSISTANT = state_pb2.ROLE_USER, state_pb2.ROLE_ASSISTANT
ids = st.text("abcXYZ019._:-", min_size=1, max_size=128)


class Feed:
    """A stream whose items are given one by one."""

    def __init__(self) -> None:
        self.items: asyncio.Queue[str | None] = asyncio.Queue()
        self.closed = False

    async def stream(self) -> AsyncGenerator[str, None]:
        try:
            while (item := await self.items.get()) is not None:
                yield item
        finally:
            self.closed = True


async def collected(stream: AsyncGenerator[str, None]) -> list[str]:
    return [item async for item in stream]


async def test_a_late_item_is_given_as_soon_as_it_is_there() -> None:
    feed, late = Feed(), asyncio.get_running_loop().create_future()
    merged = with_late_item(feed.stream(), asyncio.ensure_future(late))
    feed.items.put_nowait("a")
    found = [await anext(merged)]

    late.set_result("late")
    found.append(await anext(merged))
    feed.items.put_nowait("b")
    found.append(await anext(merged))
    feed.items.put_nowait(None)

    assert [*found, *await collected(merged)] == ["a", "late", "b"]


async def test_a_stream_does_not_wait_for_a_late_item() -> None:
    feed, late = Feed(), asyncio.get_running_loop().create_future()
    for item in ("a", None):
        feed.items.put_nowait(item)

    assert await collected(with_late_item(feed.stream(), asyncio.ensure_future(late))) == ["a"]
    assert not late.done()


async def test_a_late_nothing_is_left_out() -> None:
    feed, late = Feed(), asyncio.get_running_loop().create_future()
    late.set_result(None)
    for item in ("a", "b", None):
        feed.items.put_nowait(item)

    assert await collected(with_late_item(feed.stream(), asyncio.ensure_future(late))) == ["a", "b"]


async def test_leaving_a_merged_stream_closes_it_while_it_waits_and_leaves_the_late_one_alone() -> None:
    feed, late = Feed(), asyncio.get_running_loop().create_future()
    reader = asyncio.create_task(collected(with_late_item(feed.stream(), asyncio.ensure_future(late))))
    await settle()

    reader.cancel()
    await asyncio.gather(reader, return_exceptions=True)

    assert feed.closed
    assert not late.done()


@given(ids, ids)
def test_derived_ids_are_ids_and_differ_where_their_bases_do(one: str, other: str) -> None:
    made = [reading_id(one), reply_id(one, "0f"), reply_id(one, "10")]

    assert [identifier("id", value) for value in made] == made
    assert len(set(made)) == 3
    assert (reading_id(one) == reading_id(other)) == (one == other)


def test_a_short_derived_id_says_what_it_belongs_to() -> None:
    assert derived("t1", "reading") == "t1:reading"


def utterance(turn_id: str, parent: str | None, text: str = "words") -> Utterance:
    return Utterance(turn_id, parent, USER, 0, text)


def test_a_path_is_known_only_if_all_of_it_is() -> None:
    transcripts = Transcripts()
    for turn_id, parent in [("a", ""), ("b", "a"), ("c", "b"), ("x", "a"), ("lost", None)]:
        transcripts.add("s", utterance(turn_id, parent))

    def path(turn_id: str, limit: int = 10) -> list[str] | None:
        found = transcripts.path("s", turn_id, limit)
        return None if found is None else [said.turn_id for said in found]

    assert path("c") == ["a", "b", "c"]
    assert path("x") == ["a", "x"]
    assert path("c", limit=2) == ["b", "c"]
    assert path("") == []
    assert (path("unknown"), path("lost")) == (None, None)


def test_the_first_words_of_an_id_stand_and_move_to_the_end() -> None:
    transcripts = Transcripts()
    transcripts.add("s", utterance("a", "", "first"))
    transcripts.add("s", utterance("b", "a"))

    transcripts.add("s", utterance("a", "", "second"))

    last = transcripts.last("s")
    assert last is not None
    assert (last.turn_id, last.text) == ("a", "first")


@given(st.lists(st.tuples(st.sampled_from("stu"), st.integers(0, 20), st.integers(0, 200)), max_size=60))
def test_transcripts_stay_within_their_limit_and_keep_the_latest(said: list[tuple[str, int, int]]) -> None:
    transcripts = Transcripts(max_chars=600)

    for session_id, number, length in said:
        transcripts.add(session_id, utterance(f"t{number}", "", "x" * length))
        assert transcripts.get(session_id, f"t{number}") is not None

    kept = [transcripts.get(s, f"t{n}") for s in "stu" for n in range(21)]
    assert sum(found.weight for found in kept if found is not None) <= 600
    for session_id in "stu":
        transcripts.forget(session_id)
    transcripts.add("s", utterance("t0", "", "x" * 100))
    assert transcripts.get("s", "t0") is not None


def test_at_rest_every_level_stands_at_its_baseline() -> None:
    state = state_pb2.State(session_id="s", turn_id="t")
    state.levels.add(name="dopamine", value=91.0, baseline=48.5, band=state_pb2.BAND_SURGING)
    state.moods.add(name="warmth", intensity=0.7)

    rest = at_rest(state)

    assert rest.turn_id == ""
    assert (rest.levels[0].value, rest.levels[0].band) == (48.5, state_pb2.BAND_STEADY)
    assert (rest.moods[0].name, rest.moods[0].intensity) == ("warmth", 0.0)


def test_last_states_are_bounded_and_an_unknown_session_gets_the_baselines_seen_last() -> None:
    states = LastStates(max_sessions=2)
    assert list(states.baseline("s").levels) == []
    for number in range(3):
        state = state_pb2.State(session_id=f"s{number}")
        state.levels.add(name="dopamine", value=80.0, baseline=40.0 + number)
        states.remember(state)

    assert [states.get(f"s{number}") is not None for number in range(3)] == [False, True, True]
    guess = states.baseline("s9")
    assert (guess.session_id, guess.levels[0].value) == ("s9", 42.0)


@given(st.lists(st.floats(0, 1e6), min_size=1), st.floats(0.01, 1.0))
def test_a_quantile_is_a_value_with_its_share_below(values: list[float], q: float) -> None:
    found = quantile(values, q)

    assert found in values
    assert sum(value <= found for value in values) >= q * len(values) - 1e-6


@pytest.mark.parametrize(("q", "expected"), [(0.5, 2.0), (0.95, 4.0), (0.25, 1.0)])
def test_quantiles_of_four(q: float, expected: float) -> None:
    assert quantile([4.0, 1.0, 3.0, 2.0], q) == expected
