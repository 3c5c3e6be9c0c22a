"""What a caller may not send: each field is refused by its name, before any upstream is asked."""

from __future__ import annotations

from collections.abc import AsyncIterator

import grpc
import pytest
import pytest_asyncio

from limbic.llm.v1 import llm_pb2, llm_pb2_grpc
from limbic.runtime.errors import failure_of
from limbic.state.v1 import state_pb2
from tests.living_llm.fake_openai import FakeOpenAI, say_hello
from tests.living_llm.service import character, hear, openai_settings, request, serving, user

pytestmark = pytest.mark.asyncio(loop_scope="module")

NAN = float("nan")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def fake() -> AsyncIterator[FakeOpenAI]:
    async with FakeOpenAI([say_hello]) as server:
        yield server


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stub(fake: FakeOpenAI) -> AsyncIterator[llm_pb2_grpc.LivingLlmServiceAsyncStub]:
    async with serving(openai_settings(fake.url)) as made:
        yield made


def felt(**fields: object) -> llm_pb2.GenerateRequest:
    return request(expression=llm_pb2.Expression(**fields))  # type: ignore[arg-type]


def level(name: str = "cortisol", value: float = 50.0, baseline: float = 30.0, band: int = 0) -> state_pb2.Level:
    return state_pb2.Level(name=name, value=value, baseline=baseline, band=band)  # type: ignore[arg-type]


def wishing(**fields: object) -> llm_pb2.GenerateRequest:
    return request(sampling=llm_pb2.Sampling(**fields))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("wanted", "field"),
    [
        (llm_pb2.GenerateRequest(), "messages"),
        (request(*[user("a")] * 4097), "messages"),
        (request(user("")), "messages[0].text"),
        (request(user("a"), user("  \n")), "messages[1].text"),
        (request(user("a\x00b")), "messages[0].text"),
        (request(user("a" * 65_537)), "messages[0].text"),
        (request(user("a"), character("b")), "messages[1].role"),
        (request(llm_pb2.Message(role=9, text="a"), user("b")), "messages[0].role"),  # type: ignore[arg-type]
        (request(session_id="no spaces"), "session_id"),
        (llm_pb2.GenerateRequest(persona="a" * 65_537, messages=[user("a")]), "persona"),
        (felt(levels=[level("adrenaline")]), "expression.levels[0].name"),
        (felt(levels=[level(), level()]), "expression.levels[1].name"),
        (felt(levels=[level(value=101.0)]), "expression.levels[0].value"),
        (felt(levels=[level(value=NAN)]), "expression.levels[0].value"),
        (felt(levels=[level(baseline=-1.0)]), "expression.levels[0].baseline"),
        (felt(levels=[level(band=17)]), "expression.levels[0].band"),
        (felt(moods=[state_pb2.Mood(name="a mood")]), "expression.moods[0].name"),
        (felt(moods=[state_pb2.Mood(name="unease", intensity=1.5)]), "expression.moods[0].intensity"),
        (felt(moods=[state_pb2.Mood(name="unease")] * 33), "expression.moods"),
        (felt(style="baroque"), "expression.style"),
        (wishing(temperature=2.5), "sampling.temperature"),
        (wishing(temperature=NAN), "sampling.temperature"),
        (wishing(top_p=0.0), "sampling.top_p"),
        (wishing(top_p=NAN), "sampling.top_p"),
        (wishing(frequency_penalty=-3.0), "sampling.frequency_penalty"),
        (wishing(presence_penalty=float("inf")), "sampling.presence_penalty"),
        (wishing(max_tokens=0), "sampling.max_tokens"),
        (wishing(max_tokens=9000), "sampling.max_tokens"),
        (wishing(stop=["a"] * 9), "sampling.stop"),
        (wishing(stop=["a", ""]), "sampling.stop[1]"),
    ],
)
async def test_a_bad_field_is_refused_by_its_name(
    stub: llm_pb2_grpc.LivingLlmServiceAsyncStub, fake: FakeOpenAI, wanted: llm_pb2.GenerateRequest, field: str
) -> None:
    asked = len(fake.exchanges)

    heard = await hear(stub, wanted)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await stub.CheckGenerate(llm_pb2.CheckGenerateRequest(request=wanted))

    assert heard.failure is not None
    assert heard.failure.code is grpc.StatusCode.INVALID_ARGUMENT
    assert heard.failure.metadata["field"] == field
    assert failure_of(refused.value) == heard.failure
    assert len(fake.exchanges) == asked


async def test_an_unknown_style_is_refused_with_those_that_there_are(
    stub: llm_pb2_grpc.LivingLlmServiceAsyncStub,
) -> None:
    heard = await hear(stub, felt(style="baroque"))

    assert heard.failure is not None
    assert heard.failure.metadata == {"field": "expression.style", "allowed": "brief, concise, detailed"}


async def test_at_every_limit_a_request_is_still_taken(stub: llm_pb2_grpc.LivingLlmServiceAsyncStub) -> None:
    wanted = llm_pb2.GenerateRequest(
        session_id="s" * 128,
        messages=[user("a"), *[character("b")] * 4094, user("é" * 65_536)],
        expression=llm_pb2.Expression(levels=[level(value=100.0, baseline=0.0)], style="detailed"),
        sampling=llm_pb2.Sampling(
            temperature=2.0,
            top_p=1.0,
            frequency_penalty=-2.0,
            presence_penalty=2.0,
            max_tokens=8192,
            stop=["\n"] * 8,
            seed=2**32 - 1,
        ),
    )

    await stub.CheckGenerate(llm_pb2.CheckGenerateRequest(request=wanted))
    assert (await hear(stub, wanted)).text == "Hello!"


@pytest.mark.parametrize(
    ("persona", "text", "field"), [("You are Ada. " * 900, "Hi", "persona"), ("", "word " * 2000, "messages")]
)
async def test_too_long_a_prompt_is_refused_by_an_upstream_whose_window_is_known(
    fake: FakeOpenAI, persona: str, text: str, field: str
) -> None:
    settings = openai_settings(fake.url)
    settings = settings.model_copy(update={"upstream": settings.upstream.model_copy(update={"context_tokens": 2048})})
    wanted = llm_pb2.GenerateRequest(persona=persona, messages=[user(text)])
    asked = len(fake.exchanges)
    async with serving(settings) as stub:
        heard = await hear(stub, wanted)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await stub.CheckGenerate(llm_pb2.CheckGenerateRequest(request=wanted))

    assert heard.failure is not None
    assert (heard.failure.reason, heard.failure.metadata["field"]) == ("PROMPT_TOO_LONG", field)
    assert failure_of(refused.value) == heard.failure
    assert len(fake.exchanges) == asked


async def test_a_mood_without_words_steers_nothing_and_fails_nothing(
    stub: llm_pb2_grpc.LivingLlmServiceAsyncStub, fake: FakeOpenAI
) -> None:
    heard = await hear(stub, felt(moods=[state_pb2.Mood(name="longing", intensity=0.9)]))

    assert heard.text == "Hello!"
    assert "⟦" not in fake.exchanges[-1].body["messages"][-1]["content"]
