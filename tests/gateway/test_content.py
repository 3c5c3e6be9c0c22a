"""Ids that follow from what was said."""

from __future__ import annotations

import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from gateway.content import (
    Said,
    canonical,
    content_id,
    conversation_session,
    named_session,
    own_digest,
    own_of,
    pair_digests,
    reply_content_id,
)
from limbic.runtime.validate import identifier
from limbic.state.v1 import state_pb2

USER, ASSISTANT = state_pb2.ROLE_USER, state_pb2.ROLE_ASSISTANT
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)
spaces = st.text(" \n\t\r\u00a0", max_size=4)
ids = st.text("abc019._:-", max_size=40)


@given(texts, spaces, spaces)
def test_white_space_at_the_ends_and_its_kind_make_no_other_message(text: str, before: str, after: str) -> None:
    folded = text.replace(" ", "\r\n")

    assert canonical(f"{before}{text}{after}") == canonical(text) == canonical(folded)


@given(texts)
def test_composed_and_decomposed_characters_are_the_same(text: str) -> None:
    assert canonical(unicodedata.normalize("NFD", text)) == canonical(text)
    assert canonical(canonical(text)) == canonical(text)


@given(ids, texts, st.sampled_from([USER, ASSISTANT]))
def test_an_id_is_an_identifier_and_holds_the_messages_own_hash(parent: str, text: str, role: int) -> None:
    own = own_digest("ada", Said(state_pb2.Role.ValueType(role), text))
    turn_id = content_id(parent, own)

    assert identifier("turn_id", turn_id) == turn_id
    assert own_of(turn_id) == own
    assert len(turn_id) < 64


@given(
    st.lists(
        st.tuples(ids, texts, st.sampled_from([USER, ASSISTANT])),
        unique_by=lambda one: (one[0], canonical(one[1]), one[2]),
    )
)
def test_parent_role_and_text_make_the_id_and_nothing_else(said: list[tuple[str, str, int]]) -> None:
    made = [
        content_id(parent, own_digest("ada", Said(state_pb2.Role.ValueType(role), text))) for parent, text, role in said
    ]

    assert len(set(made)) == len(made)


def test_ids_of_two_sessions_do_not_show_that_the_words_are_equal() -> None:
    said = Said(USER, "I love you")

    assert own_digest("ada", said) != own_digest("eve", said)
    assert own_of("t1") is None
    assert own_of(reply_content_id("ada", "t1", "me too")) == own_digest("ada", Said(ASSISTANT, "me too"))


def test_an_occasion_is_another_turn_with_the_same_message() -> None:
    own = own_digest("ada", Said(USER, "good morning"))
    first = content_id("", own)
    second = content_id("", own, first)

    assert first != second
    assert own_of(first) == own_of(second)


def test_a_session_is_named_by_how_the_conversation_begins_and_shows_nothing_of_it() -> None:
    greeting, hello, more = Said(ASSISTANT, "Hi, I am Mira."), Said(USER, "hello"), Said(USER, "what now?")
    session = conversation_session("key", [greeting, hello])

    assert session == conversation_session("key", [Said(ASSISTANT, "Hi,  I am Mira.\n"), hello, more])
    assert session != conversation_session("other key", [greeting, hello])
    assert session != conversation_session("key", [greeting, more])
    assert session != conversation_session("key", [hello])
    assert "mira" not in session.lower()
    assert identifier("session_id", session) == session
    assert named_session("user", "key", "ada") != named_session("user", "key", "eve")


@given(st.lists(texts, min_size=4, max_size=8), st.integers(0, 2))
def test_a_conversation_without_its_beginning_has_the_pairs_of_the_rest(said: list[str], dropped: int) -> None:
    dialogue = [Said(USER if index % 2 == 0 else ASSISTANT, text) for index, text in enumerate(said)]

    whole, rest = pair_digests("key", dialogue), pair_digests("key", dialogue[dropped:])

    assert len(whole) == len(dialogue) - 1
    assert rest == whole[dropped:]
