"""Where a long conversation begins for the model."""

from __future__ import annotations

from itertools import groupby

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.excerpt import excerpt
from gateway.transcripts import Utterance
from limbic.state.v1 import state_pb2

ROLES = (state_pb2.ROLE_USER, state_pb2.ROLE_ASSISTANT)


def conversation(messages: int, name: str = "t") -> list[Utterance]:
    """A path on which the two take turns."""
    return [
        Utterance(f"{name}-{index}", f"{name}-{index - 1}" if index else "", ROLES[index % 2], index, f"words {index}")
        for index in range(messages)
    ]


@given(messages=st.integers(0, 60), limit=st.integers(1, 20), name=st.text(max_size=4))
def test_it_is_the_end_of_the_path_and_not_less_than_half_of_what_may_be(messages: int, limit: int, name: str) -> None:
    path = conversation(messages, name)

    given_to_the_model = excerpt(path[-limit:], limit)

    assert given_to_the_model == path[len(path) - len(given_to_the_model) :]
    assert len(given_to_the_model) <= limit
    assert len(given_to_the_model) >= min(len(path), limit / 2)


@given(messages=st.integers(0, 60), limit=st.integers(1, 20))
def test_whoever_knows_more_of_the_path_gives_the_same(messages: int, limit: int) -> None:
    path = conversation(messages)

    assert excerpt(path, limit) == excerpt(path[-limit:], limit)


@pytest.mark.parametrize("name", ["a", "b", "c"])
def test_the_beginning_stays_where_it_is_for_many_turns(name: str) -> None:
    path = conversation(2_000, name)

    # A turn adds two messages, and the last one is the reply.
    beginnings = [excerpt(path[:said], 200)[0].turn_id for said in range(200, 2_000, 2)]
    stays = [len(list(turns)) for _, turns in groupby(beginnings)]

    # It never comes back to a place that it has left.
    assert len(set(beginnings)) == len(stays)
    # 900 turns; sliding would have moved it 900 times.
    assert len(stays) < 60


def test_it_begins_with_what_the_person_said() -> None:
    path = conversation(400)

    assert {excerpt(path[:said], 200)[0].role for said in range(200, 400, 2)} == {state_pb2.ROLE_USER}
