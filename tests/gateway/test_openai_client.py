"""The official Python client against a real gateway over HTTP, with its backends behind real gRPC."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI, OpenAI

from gateway.ports import BackendFailure
from limbic.state.v1 import state_pb2
from tests.gateway.conftest import House
from tests.gateway.fakes import until

USER, ASSISTANT = state_pb2.ROLE_USER, state_pb2.ROLE_ASSISTANT
PERSONA = {"role": "system", "content": "You are Mira."}


def base_url(house: House) -> str:
    assert house.service is not None
    return f"http://127.0.0.1:{house.service.http_port}/v1"


@pytest.fixture
async def client(house: House) -> AsyncIterator[AsyncOpenAI]:
    async with AsyncOpenAI(base_url=base_url(house), api_key="key", max_retries=0) as client:
        yield client


def said(*texts: str) -> list[Any]:
    """Return a conversation in which the user begins."""
    roles = ("user", "assistant")
    return [PERSONA, *({"role": roles[index % 2], "content": text} for index, text in enumerate(texts))]


async def test_a_whole_reply_has_openais_shape_and_carries_the_state(house: House, client: AsyncOpenAI) -> None:
    raw = await client.chat.completions.with_raw_response.create(model="limbic", messages=said("I missed you"))
    completion = raw.parse()

    assert completion.id.startswith("chatcmpl-")
    assert (completion.object, completion.model) == ("chat.completion", "limbic")
    (choice,) = completion.choices
    assert (choice.index, choice.finish_reason, choice.message.role) == (0, "stop", "assistant")
    assert choice.message.content == "Hello there."
    assert completion.usage is not None
    assert (completion.usage.prompt_tokens, completion.usage.completion_tokens, completion.usage.total_tokens) == (
        7,
        3,
        10,
    )
    limbic: Any = completion.model_extra
    limbic = limbic["limbic"]
    assert limbic["affect"]["status"] == "in_window"
    assert limbic["affect"]["reading"]["valence"] == 0.8
    (level,) = limbic["state"]["levels"]
    assert (level["name"], level["value"], level["band"]) == ("dopamine", 58.0, "steady")
    assert limbic["state"]["moods"] == [{"name": "warmth", "intensity": 0.1}]
    assert (limbic["degraded"], limbic["degraded_reasons"]) == (False, [])
    assert {stage["name"] for stage in limbic["trace"]["stages"]} >= {"place", "state", "affect", "generate"}
    assert raw.headers["x-limbic-session"] == limbic["session_id"]
    assert raw.headers["x-limbic-turn"] == limbic["turn_id"]
    assert raw.headers["x-limbic-trace"] == limbic["trace"]["trace_id"]
    assert raw.headers["x-limbic-degraded"] == "false"
    path = house.engine.path(limbic["session_id"], limbic["reply_turn_id"])
    assert [(turn.role, turn.text) for turn in path] == [(USER, "I missed you"), (ASSISTANT, "Hello there.")]
    (request,) = house.model.requests
    assert request.persona == "You are Mira."


async def test_a_stream_brings_the_role_first_the_reason_last_and_the_usage_if_wanted(
    house: House, client: AsyncOpenAI
) -> None:
    stream = await client.chat.completions.create(
        model="limbic", messages=said("I missed you"), stream=True, stream_options={"include_usage": True}
    )
    chunks = [chunk async for chunk in stream]

    first, *words, last, usage = chunks
    assert {chunk.id for chunk in chunks} == {first.id}
    assert {chunk.object for chunk in chunks} == {"chat.completion.chunk"}
    assert (first.choices[0].delta.role, first.choices[0].delta.content) == ("assistant", "")
    assert [chunk.choices[0].delta.content for chunk in words] == house.model.words
    assert [chunk.choices[0].finish_reason for chunk in (first, *words, last)] == [None] * 4 + ["stop"]
    assert (usage.choices, usage.usage is not None and usage.usage.total_tokens) == ([], 10)
    opening: Any = first.model_extra
    closing: Any = last.model_extra
    assert opening["limbic"]["affect"]["status"] == "in_window"
    assert opening["limbic"]["state"]["levels"][0]["value"] == 58.0
    assert closing["limbic"]["turn_id"] == opening["limbic"]["turn_id"]
    reply = closing["limbic"]["reply_turn_id"]
    assert house.engine.turns[closing["limbic"]["session_id"], reply].text == "Hello there."


async def test_without_a_wish_no_chunk_is_without_choices(client: AsyncOpenAI) -> None:
    """Open-LLM-VTuber reads `choices[0]` of every chunk."""
    stream = await client.chat.completions.create(model="limbic", messages=said("hello"), stream=True)

    assert all(len(chunk.choices) == 1 for chunk in [chunk async for chunk in stream])


async def test_a_conversation_with_two_swipes_and_an_edit_grows_the_right_tree(
    house: House, client: AsyncOpenAI
) -> None:
    async def ask(*texts: str, reply: str) -> Any:
        house.model.words = [reply]
        completion: Any = await client.chat.completions.create(model="limbic", messages=said(*texts))
        return completion.model_extra["limbic"]

    first = await ask("hello", reply="hi!")
    second = await ask("hello", "hi!", "I am sad", reply="oh no")
    swipe = await ask("hello", "hi!", "I am sad", reply="tell me more")
    again = await ask("hello", "hi!", "I am sad", reply="why?")
    after = await ask("hello", "hi!", "I am sad", "tell me more", "it is nothing", reply="fine")
    edit = await ask("hello", "hi!", "I am glad", reply="great")

    session_id = first["session_id"]
    assert {one["session_id"] for one in (second, swipe, again, after, edit)} == {session_id}
    assert second["turn_id"] == swipe["turn_id"] == again["turn_id"]
    assert [one["affect"]["status"] for one in (second, swipe, again)] == ["in_window", "already_felt", "already_felt"]
    tree = {
        turn.turn_id: (turn.parent_turn_id, turn.text)
        for (session, _), turn in house.engine.turns.items()
        if session == session_id
    }
    assert tree == {
        first["turn_id"]: ("", "hello"),
        first["reply_turn_id"]: (first["turn_id"], "hi!"),
        second["turn_id"]: (first["reply_turn_id"], "I am sad"),
        second["reply_turn_id"]: (second["turn_id"], "oh no"),
        swipe["reply_turn_id"]: (second["turn_id"], "tell me more"),
        again["reply_turn_id"]: (second["turn_id"], "why?"),
        after["turn_id"]: (swipe["reply_turn_id"], "it is nothing"),
        after["reply_turn_id"]: (after["turn_id"], "fine"),
        edit["turn_id"]: (first["reply_turn_id"], "I am glad"),
        edit["reply_turn_id"]: (edit["turn_id"], "great"),
    }
    felt = [first["turn_id"], second["turn_id"], after["turn_id"], edit["turn_id"]]
    assert sorted(house.engine.stimuli()) == sorted(f"{turn_id}:reading" for turn_id in felt)


async def test_a_late_reading_comes_in_the_stream(house: House) -> None:
    await house.stop()
    await house.start(affect_window_ms=0)
    house.head.release, house.model.hold_at = asyncio.Event(), 1
    async with AsyncOpenAI(base_url=base_url(house), api_key="key", max_retries=0) as client:
        stream = await client.chat.completions.create(model="limbic", messages=said("hello"), stream=True)
        extras: list[Any] = []
        async for chunk in stream:
            extras.append((chunk.model_extra or {}).get("limbic"))
            if chunk.choices[0].delta.content == "Hello":
                house.head.release.set()
            elif extras[-1] and extras[-1]["affect"]["status"] == "late":
                house.model.release.set()

    told = [one for one in extras if one]
    assert [one["affect"]["status"] for one in told] == ["pending", "late", "late"]
    assert [one["state"]["levels"][0]["value"] for one in told] == [50.0, 58.0, 58.0]


@pytest.mark.parametrize("streams", [False, True])
async def test_a_client_that_goes_away_stops_the_model_and_is_felt_all_the_same(
    house: House, client: AsyncOpenAI, streams: bool
) -> None:
    house.model.hold_at = 2
    create: Any = client.chat.completions.create
    asking = asyncio.create_task(create(model="limbic", messages=said("hello"), stream=streams))
    await until(lambda: house.model.running == 1)
    if streams:
        async for chunk in await asking:
            if chunk.choices[0].delta.content == " there":
                break
        await asking.result().close()
    else:
        asking.cancel()

    await until(lambda: house.model.running == 0)
    await until(lambda: any(turn.cut for turn in house.engine.turns.values()))

    cut = next(turn for turn in house.engine.turns.values() if turn.cut)
    # What had not left the model when nobody listened any more is not kept.
    assert cut.text == "Hello there" if streams else "Hello there".startswith(cut.text)
    assert house.model.finished == 0
    assert len(house.engine.stimuli()) == 1


async def test_errors_are_the_clients_own(house: House, client: AsyncOpenAI) -> None:
    async def failing(failure: BackendFailure) -> Any:
        house.model.failure, house.model.fail_at = failure, -1
        with pytest.raises(openai.APIStatusError) as told:
            await client.chat.completions.create(model="limbic", messages=said("hello"))
        return told.value

    with pytest.raises(openai.BadRequestError) as bad:
        await client.chat.completions.create(model="limbic", messages=said("hello"), n=2)
    shed = await failing(BackendFailure("RESOURCE_EXHAUSTED", "UPSTREAM_OVERLOADED", retry_after=2.5))
    away = await failing(BackendFailure("UNAVAILABLE", "UPSTREAM_UNAVAILABLE", retry_after=1.0))
    slow = await failing(BackendFailure("DEADLINE_EXCEEDED", "UPSTREAM_TIMEOUT"))
    refused = await failing(BackendFailure("FAILED_PRECONDITION", "UPSTREAM_REJECTED"))

    assert (bad.value.param, bad.value.code, bad.value.type) == ("n", "unsupported_parameter", "invalid_request_error")
    assert isinstance(shed, openai.RateLimitError)
    assert (shed.response.headers["retry-after"], shed.type) == ("3", "rate_limit_error")
    assert (away.status_code, away.response.headers["retry-after"], away.code) == (503, "1", "upstream_unavailable")
    assert (slow.status_code, slow.code) == (504, "upstream_timeout")
    assert (refused.status_code, refused.type) == (502, "server_error")


async def test_a_reply_that_breaks_off_is_an_error_in_the_stream(house: House, client: AsyncOpenAI) -> None:
    house.model.failure, house.model.fail_at = BackendFailure("ABORTED", "GENERATION_CUT"), 2
    stream = await client.chat.completions.create(model="limbic", messages=said("hello"), stream=True)
    texts: list[str | None] = []

    async def read() -> None:
        async for chunk in stream:
            texts.append(chunk.choices[0].delta.content)

    with pytest.raises(openai.APIError) as cut:
        await read()

    assert texts == ["", "Hello", " there"]
    assert cut.value.code == "generation_cut"


async def test_models_can_be_listed_and_looked_at(client: AsyncOpenAI) -> None:
    models = [model async for model in client.models.list()]
    model = await client.models.retrieve("limbic")

    assert [(one.id, one.object, one.owned_by) for one in models] == [("limbic", "model", "limbic")]
    assert model.id == "limbic"
    with pytest.raises(openai.NotFoundError):
        await client.models.retrieve("gpt-4")


async def test_the_synchronous_client_speaks_as_well(house: House) -> None:
    def talk() -> tuple[str | None, list[str | None]]:
        with OpenAI(base_url=base_url(house), api_key="key", max_retries=0) as client:
            whole = client.chat.completions.create(model="limbic", messages=said("hello"))
            stream = client.chat.completions.create(model="limbic", messages=said("hello"), stream=True)
            return whole.choices[0].message.content, [chunk.choices[0].delta.content for chunk in stream]

    whole, pieces = await asyncio.to_thread(talk)

    assert whole == "Hello there."
    assert pieces == ["", "Hello", " there", ".", None]
    assert len(house.engine.stimuli()) == 1
