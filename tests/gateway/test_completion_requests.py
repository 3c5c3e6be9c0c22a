"""What a request for a chat completion may hold, and how what it may not hold is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.completions.errors import told
from gateway.completions.request import ChatRequest, TurnDefaults, chat_request
from gateway.content import Said
from limbic.runtime.errors import InvalidArgumentError
from limbic.state.v1 import state_pb2

USER, ASSISTANT = state_pb2.ROLE_USER, state_pb2.ROLE_ASSISTANT
HELLO = {"role": "user", "content": "hello"}


def read(body: dict[str, Any], headers: dict[str, str] | None = None, *, client_wins: bool = False) -> ChatRequest:
    return chat_request(body, headers or {}, TurnDefaults("You are Ada.", 0.6, 100.0, client_wins))


def talk(*said: tuple[str, str]) -> dict[str, Any]:
    return {"model": "limbic", "messages": [{"role": role, "content": content} for role, content in said]}


def test_the_dialogue_is_what_user_and_assistant_say_and_the_rest_is_the_persona() -> None:
    wanted = read(
        {
            "messages": [
                {"role": "system", "content": "You are Mira."},
                {"role": "system", "name": "example_user", "content": "Hi"},
                {"role": "system", "name": "example_assistant", "content": "Oh, you!"},
                {"role": "assistant", "content": "You came."},
                {"role": "developer", "content": "It rains."},
                {"role": "user", "content": [{"type": "text", "text": "I "}, {"type": "text", "text": "did"}]},
                {"role": "system", "content": "Answer in one line."},
            ]
        }
    )

    turn, dialogue = wanted.turn, wanted.turn.dialogue
    assert dialogue is not None
    assert dialogue.history == (Said(ASSISTANT, "You came."),)
    assert dialogue.words == Said(USER, "I did")
    assert turn.text == "I did"
    assert turn.persona == (
        "You are Mira.\n\nexample_user: Hi\n\nexample_assistant: Oh, you!\n\nIt rains.\n\nAnswer in one line."
    )


def test_without_a_description_the_configured_persona_speaks() -> None:
    assert read(talk(("user", "hello"))).turn.persona == "You are Ada."


def test_notes_change_neither_session_nor_dialogue() -> None:
    plain = read(talk(("system", "a"), ("user", "x"), ("assistant", "y"), ("user", "z"))).turn
    noted = read(talk(("user", "x"), ("system", "b"), ("assistant", "y"), ("user", "z"), ("system", "c"))).turn

    assert (plain.session_id, plain.dialogue) == (noted.session_id, noted.dialogue)


def test_a_conversation_that_ends_with_the_characters_words_is_an_aside() -> None:
    nudged = read(talk(("system", "P"), ("user", "x"), ("assistant", "y"), ("system", "Summarise this."))).turn
    bare = read(talk(("user", "x"), ("assistant", "y"))).turn
    quiet = read(talk(("system", "Describe a tree."))).turn

    assert nudged.dialogue is not None
    assert (nudged.dialogue.words, nudged.dialogue.feels) == (None, True)
    assert (nudged.text, nudged.persona) == ("Summarise this.", "P")
    assert bare.text.startswith("(Go on")
    assert quiet.dialogue is not None
    assert (quiet.text, quiet.persona, quiet.dialogue.feels) == ("Describe a tree.", "", False)


def test_what_open_webui_asks_for_itself_is_nobodys_words() -> None:
    task = "### Task:\nGenerate a concise, 3-5 word title"
    asked = read({**talk(("user", task)), "stream": False}).turn
    spoken = read({**talk(("user", task)), "stream": True}).turn

    assert asked.dialogue is not None
    assert (asked.dialogue.words, asked.dialogue.feels, asked.text, asked.persona) == (None, False, task, "")
    assert spoken.dialogue is not None
    assert spoken.dialogue.words is not None


def test_a_session_is_named_by_the_header_the_chat_the_user_or_the_beginning() -> None:
    body = {**talk(("user", "hello")), "user": "Ada Lovelace"}
    headers = {"x-limbic-session": "mine", "x-openwebui-chat-id": "8a1c"}

    by_header = read(body, headers).turn
    by_chat = read(body, {"x-openwebui-chat-id": "8a1c"}).turn
    by_user = read(body).turn
    by_key = read(body, {"authorization": "Bearer secret"}).turn
    by_object = read({**body, "user": {"id": "Ada Lovelace", "name": "Ada"}}).turn
    by_beginning = read(talk(("user", "hello"))).turn

    assert by_header.session_id == "mine"
    kinds = [turn.session_id.partition("-")[0] for turn in (by_chat, by_user, by_key, by_beginning)]
    assert kinds == ["chat", "user", "user", "chat"]
    assert len({turn.session_id for turn in (by_chat, by_user, by_key, by_beginning)}) == 4
    assert by_object.session_id == by_user.session_id
    assert not any("ada" in turn.session_id.lower() for turn in (by_user, by_key))
    assert "secret" not in repr(by_key)
    named = [
        turn.dialogue.is_named for turn in (by_header, by_chat, by_user, by_beginning) if turn.dialogue is not None
    ]
    assert named == [True, True, True, False]


def test_the_state_sets_the_sampling_unless_a_setting_says_otherwise() -> None:
    body = {
        **talk(("user", "hello")),
        "temperature": 0.3,
        "top_p": 0,
        "frequency_penalty": 0.1,
        "presence_penalty": -0.1,
        "max_tokens": 100_000,
        "stop": "\nUser:",
        "seed": 2**40 + 5,
    }

    led = read(body).turn.sampling
    own = read(body, client_wins=True).turn.sampling

    assert [led.HasField(name) for name in ("temperature", "top_p", "frequency_penalty", "presence_penalty")] == [
        False
    ] * 4
    assert (own.temperature, own.frequency_penalty, own.presence_penalty) == (0.3, 0.1, -0.1)
    assert 0 < own.top_p < 1e-5
    for sampling in (led, own):
        assert (sampling.max_tokens, list(sampling.stop), sampling.seed) == (8_192, ["\nUser:"], 5)


def test_the_newer_name_of_the_limit_counts_and_a_seed_of_minus_one_is_none() -> None:
    sampling = read({**talk(("user", "hello")), "max_tokens": 5, "max_completion_tokens": 7, "seed": -1}).turn.sampling

    assert sampling.max_tokens == 7
    assert not sampling.HasField("seed")


def test_what_front_ends_send_besides_is_passed_over() -> None:
    body = {
        **talk(("user", "hello")),
        "top_k": 40,
        "min_p": 0.1,
        "repetition_penalty": 1.1,
        "logit_bias": {"50256": -100},
        "logprobs": True,
        "reasoning_effort": "low",
        "tools": [],
        "tool_choice": "auto",
        "n": 1,
        "response_format": {"type": "text"},
        "metadata": {"task": "x"},
        "chat_completion_source": "custom",
        "temperature": None,
        "stop": [""],
        "seed": None,
    }

    assert read(body).turn.text == "hello"


LONG = "x" * 65_537


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "messages"),
        ({"messages": []}, "messages"),
        ({"messages": "hello"}, "messages"),
        ({"messages": [None]}, "messages[0]"),
        ({"messages": [HELLO] * 4_096}, "messages"),
        ({"messages": [{"role": "user"}]}, "messages"),
        ({"messages": [{"role": "user", "content": " \n"}]}, "messages"),
        ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": LONG}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": "a\x00b"}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": "\ud83d"}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages[0].content[0]"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:"}}]}]},
            "messages[0].content[0].type",
        ),
        ({"messages": [{"role": "narrator", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "assistant", "content": None, "tool_calls": [{}]}]}, "messages[0].tool_calls"),
        ({"messages": [{"role": "system", "content": "x" * 40_000}] * 2 + [HELLO]}, "messages"),
        ({"messages": [HELLO], "model": 5}, "model"),
        ({"messages": [HELLO], "stream": "yes"}, "stream"),
        ({"messages": [HELLO], "stream": True, "stream_options": {"include_usage": 1}}, "stream_options.include_usage"),
        ({"messages": [HELLO], "temperature": 3}, "temperature"),
        ({"messages": [HELLO], "temperature": "warm"}, "temperature"),
        ({"messages": [HELLO], "temperature": True}, "temperature"),
        ({"messages": [HELLO], "temperature": 10**400}, "temperature"),
        ({"messages": [HELLO], "top_p": float("nan")}, "top_p"),
        ({"messages": [HELLO], "presence_penalty": -3}, "presence_penalty"),
        ({"messages": [HELLO], "max_tokens": 0}, "max_tokens"),
        ({"messages": [HELLO], "max_completion_tokens": 1.5}, "max_completion_tokens"),
        ({"messages": [HELLO], "stop": ["x"] * 9}, "stop"),
        ({"messages": [HELLO], "stop": ["x" * 129]}, "stop"),
        ({"messages": [HELLO], "stop": 5}, "stop"),
        ({"messages": [HELLO], "seed": "5"}, "seed"),
        ({"messages": [HELLO], "n": 2}, "n"),
        ({"messages": [HELLO], "tools": [{"type": "function"}]}, "tools"),
        ({"messages": [HELLO], "response_format": {"type": "json_object"}}, "response_format"),
        ({"messages": [HELLO], "modalities": ["audio"]}, "modalities"),
        ({"messages": [HELLO], "user": 5}, "user"),
        ({"messages": [HELLO], "user": "x" * 513}, "user"),
    ],
)
def test_what_cannot_be_used_is_refused_with_its_name(body: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidArgumentError) as refusal:
        read(body)

    said = told(refusal.value)
    assert (said.status, said.body["error"]["param"]) == (400, param)
    assert said.body["error"]["type"] == "invalid_request_error"
    assert said.body["error"]["message"].startswith(f"{param}: ")


def test_tools_are_refused_in_the_words_that_front_ends_look_for() -> None:
    """Open-LLM-VTuber asks again without tools if the error says "does not support tools"."""
    with pytest.raises(InvalidArgumentError, match="does not support tools"):
        read({"messages": [HELLO], "tools": [{"type": "function", "function": {"name": "look"}}]})


def test_a_session_that_is_no_identifier_is_refused() -> None:
    with pytest.raises(InvalidArgumentError) as refusal:
        read(talk(("user", "hello")), {"x-limbic-session": "no id"})

    assert refusal.value.field == "X-Limbic-Session"


def taken_or_refused(body: dict[str, Any]) -> ChatRequest | InvalidArgumentError:
    try:
        return read(body)
    except InvalidArgumentError as refusal:
        return refusal


json_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=8,
)
fields = st.sampled_from(
    ["model", "stream", "stream_options", "stop", "temperature", "top_p", "n", "seed", "max_tokens", "user", "tools"]
)
messages = st.fixed_dictionaries(
    {"role": st.sampled_from(["system", "user", "assistant", "tool"]) | json_values, "content": json_values}
)


@given(st.dictionaries(fields, json_values), json_values | st.lists(messages, max_size=5))
def test_any_json_is_either_taken_or_refused(extras: dict[str, Any], said: Any) -> None:
    # As it comes over the wire; NaN and halves of characters included.
    body = json.loads(json.dumps({**extras, "messages": said}))
    outcome = taken_or_refused(body)

    if isinstance(outcome, InvalidArgumentError):
        assert told(outcome).status == 400
    else:
        assert outcome.turn.sampling.SerializeToString() is not None
        assert outcome.turn.text.strip()
