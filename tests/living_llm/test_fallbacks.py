"""Several upstreams in order: real HTTP servers, of which some misbehave, heard through the real gRPC service."""

from __future__ import annotations

import asyncio
import json
import re
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import pytest
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from limbic.llm.v1 import llm_pb2, llm_pb2_grpc
from limbic.runtime.settings import LlmSettings, SettingsError, UpstreamSettings, load_settings
from services.living_llm.assembly import make_upstreams, upstream_names
from services.living_llm.failures import (
    BadRequestFailure,
    Failure,
    InvalidFailure,
    OverloadedFailure,
    RejectedFailure,
    TransientFailure,
    most_hopeful,
)
from services.living_llm.openai import UpstreamSettingsError
from tests.living_llm import misbehaviour as wrong
from tests.living_llm.fake_openai import Exchange, FakeOpenAI, Script, say_hello
from tests.living_llm.misbehaviour import assert_failed, refusing
from tests.living_llm.service import Heard, hear, openai_settings, request, serving, user

QUICK = {"retry_attempts": 2, "circuit_failures": 1000}


@asynccontextmanager
async def two(
    first: FakeOpenAI, second: FakeOpenAI, first_upstream: dict[str, object] | None = None, **changes: object
) -> AsyncIterator[llm_pb2_grpc.LivingLlmServiceAsyncStub]:
    """Serve with two upstreams, called hosted and local."""
    settings = openai_settings(first.url, **{**QUICK, **changes})
    upstream = settings.upstream.model_copy(update={"name": "hosted", **(first_upstream or {})})
    fallback = UpstreamSettings(url=second.url, name="local", model="local-1b")
    async with serving(settings.model_copy(update={"upstream": upstream, "fallbacks": (fallback,)})) as stub:
        yield stub


async def asked(
    *scripts: Script, second: Script = say_hello, first_upstream: dict[str, object] | None = None, **changes: object
) -> tuple[Heard, FakeOpenAI, FakeOpenAI]:
    """Ask once, of a first server with these scripts and a second one behind it."""
    async with (
        FakeOpenAI(scripts) as first,
        FakeOpenAI([second]) as behind,
        two(first, behind, first_upstream, **changes) as stub,
    ):
        return await hear(stub, request()), first, behind


def spoken_by_fallback(reason: str) -> float:
    return REGISTRY.get_sample_value("limbic_llm_fallbacks_total", {"upstream": "local", "reason": reason}) or 0.0


async def test_the_first_upstream_speaks_where_it_can_and_nobody_else_is_asked() -> None:
    heard, _, second = await asked(say_hello)

    assert heard.text == "Hello!"
    assert heard.started is not None
    assert heard.started.upstream == "hosted"
    assert not heard.started.HasField("fallback")
    assert second.exchanges == []


@pytest.mark.parametrize(
    ("script", "tries", "failure_class", "kind"),
    [
        (refusing(503, {"message": "Loading model"}), 2, "transient", "loading"),
        (refusing(500, "down"), 2, "transient", "status_500"),
        (wrong.begun(wrong.reset), 2, "transient", "reset"),
        (wrong.begun(wrong.just_end), 2, "transient", "broken_off"),
        (refusing(429, "busy"), 2, "overloaded", "status_429"),
        # It says when it will have room again: nobody waits for that while another can speak.
        (refusing(429, "busy", retry_after="1"), 1, "overloaded", "status_429"),
        (refusing(401, "who are you"), 1, "rejected", "status_401"),
        (refusing(404, {"message": "no such model"}), 1, "rejected", "status_404"),
        (refusing(429, {"code": "insufficient_quota"}), 1, "rejected", "quota"),
        (refusing(400, {"type": "exceed_context_size_error"}), 1, "rejected", "context_size"),
        (wrong.html, 1, "invalid", "html"),
        (wrong.begun(wrong.no_json), 1, "invalid", "not_json"),
    ],
    ids=str,
)
async def test_where_it_fails_before_its_first_words_the_next_one_speaks_and_it_is_said_why(
    script: Script, tries: int, failure_class: str, kind: str
) -> None:
    before = spoken_by_fallback(kind)

    with capture_logs() as lines:
        heard, first, second = await asked(script)

    assert heard.text == "Hello!"
    assert (len(first.exchanges), len(second.exchanges)) == (tries, 1)
    assert heard.started is not None
    assert (heard.started.upstream, heard.started.fallback.instead_of) == ("local", "hosted")
    assert heard.started.fallback.failure_class == failure_class
    assert heard.started.fallback.detail
    assert heard.done is not None
    upstreams = [(attempt.upstream, attempt.failure_class) for attempt in heard.done.attempts]
    assert upstreams == [("hosted", failure_class)] * tries + [("local", "")]
    assert spoken_by_fallback(kind) == before + 1
    told = [line for line in lines if line["event"] == "a fallback speaks"]
    assert [(line["upstream"], line["instead_of"], line["reason"]) for line in told] == [("local", "hosted", kind)]


async def test_where_the_first_refuses_the_connection_the_next_one_speaks() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        first = FakeOpenAI([])
        first.port = taken.getsockname()[1]
        async with FakeOpenAI([say_hello]) as second, two(first, second) as stub:
            heard = await hear(stub, request())

    assert heard.text == "Hello!"
    assert heard.started is not None
    assert heard.started.fallback.failure_class == "transient"


@pytest.mark.parametrize("script", [wrong.hang, wrong.begun(wrong.hang), wrong.begun(wrong.comments)])
async def test_where_the_first_words_do_not_come_in_its_own_time_the_next_one_speaks(script: Script) -> None:
    async with (
        FakeOpenAI([script]) as first,
        FakeOpenAI([say_hello]) as second,
        two(first, second, {"first_delta_timeout_s": 0.5}) as stub,
    ):
        heard = await hear(stub, request())
        await asyncio.wait_for(first.left(), 10.0)

    assert heard.text == "Hello!"
    assert len(first.exchanges) == 1
    assert heard.started is not None
    assert heard.started.fallback.detail == "no words came within 0.5 s"


async def test_a_first_upstream_that_hangs_leaves_the_next_one_half_of_the_callers_time() -> None:
    async with (
        FakeOpenAI([wrong.hang]) as first,
        FakeOpenAI([say_hello]) as second,
        two(first, second, {"first_delta_timeout_s": 3600.0}, circuit_failures=1) as stub,
    ):
        heard = await hear(stub, request(), timeout_s=4.0)
        described = await stub.GetModel(llm_pb2.GetModelRequest())

    assert heard.text == "Hello!"
    # It was the caller who was in a hurry.
    assert described.upstreams[0].circuit == "closed"


async def test_while_the_first_ones_circuit_is_open_it_is_not_asked_and_the_model_lists_both() -> None:
    async with (
        FakeOpenAI([refusing(500, "down")]) as first,
        FakeOpenAI([say_hello]) as second,
        two(first, second, circuit_failures=2, circuit_open_s=3600.0) as stub,
    ):
        await hear(stub, request())
        heard = await hear(stub, request())
        described = await stub.GetModel(llm_pb2.GetModelRequest())

    assert heard.text == "Hello!"
    assert (len(first.exchanges), len(second.exchanges)) == (2, 2)
    assert heard.started is not None
    assert "left alone" in heard.started.fallback.detail
    assert heard.done is not None
    assert [attempt.upstream for attempt in heard.done.attempts] == ["local"]
    listed = [(one.name, one.kind, one.model, one.circuit) for one in described.upstreams]
    assert listed == [("hosted", "openai", "fake-7b", "open"), ("local", "openai", "local-1b", "closed")]


@pytest.mark.parametrize("status", [400, 422])
async def test_a_request_that_is_wrong_is_told_to_the_caller_and_not_carried_from_door_to_door(status: int) -> None:
    heard, first, second = await asked(refusing(status, {"message": "bad", "type": "BadRequestError"}))

    assert_failed(heard, grpc.StatusCode.FAILED_PRECONDITION, "UPSTREAM_REJECTED", "rejected")
    assert (len(first.exchanges), len(second.exchanges)) == (1, 0)


@pytest.mark.parametrize("then", [wrong.reset, wrong.error_object, wrong.just_end, wrong.hang])
async def test_after_the_first_words_nobody_else_is_asked(then: Script) -> None:
    heard, _, second = await asked(wrong.saying_first(then), idle_timeout_s=0.1)

    assert heard.text == "Once upon"
    assert_failed(heard, grpc.StatusCode.ABORTED, "GENERATION_CUT", "cut")
    assert second.exchanges == []


async def test_where_all_fail_the_caller_is_told_of_what_can_pass() -> None:
    heard, first, second = await asked(refusing(401, "who are you"), second=refusing(429, "busy"))

    assert_failed(heard, grpc.StatusCode.RESOURCE_EXHAUSTED, "UPSTREAM_OVERLOADED", "overloaded")
    assert heard.failure is not None
    assert heard.failure.metadata["upstream"] == "local"
    assert heard.failure.retry_after is not None
    assert (len(first.exchanges), len(second.exchanges)) == (1, 2)


def test_of_several_failures_the_one_that_can_pass_is_told_with_the_shortest_delay() -> None:
    failures: list[Failure] = [
        InvalidFailure("html", ""),
        OverloadedFailure("status_429", "", retry_after=60.0),
        TransientFailure("refused", ""),
        OverloadedFailure("status_429", "", retry_after=5.0),
    ]

    told = most_hopeful(failures)

    assert (told, told.retry_after) == (failures[1], 5.0)
    rejected = [RejectedFailure("status_401", ""), BadRequestFailure("status_400", "")]
    assert most_hopeful(rejected) is rejected[0]


async def test_a_prompt_beyond_the_first_ones_window_is_refused_and_one_beyond_the_nexts_is_no_fault_of_the_caller() -> (
    None
):
    long = request(user("x" * 5000))
    async with (
        FakeOpenAI([refusing(500, "down")]) as first,
        FakeOpenAI([say_hello]) as second,
        two(first, second, {"context_tokens": 1024}) as stub,
    ):
        refused = await hear(stub, long)
        settings = openai_settings(first.url, **QUICK)
        small = UpstreamSettings(url=second.url, name="local", model="local-1b", context_tokens=1024)
        async with serving(settings.model_copy(update={"fallbacks": (small,)})) as stub:
            failed = await hear(stub, long)

    assert refused.failure is not None
    assert refused.failure.reason == "PROMPT_TOO_LONG"
    assert_failed(failed, grpc.StatusCode.UNAVAILABLE, "UPSTREAM_UNAVAILABLE", "transient")
    assert second.exchanges == []


async def test_the_embedded_model_can_be_the_one_that_speaks_in_the_end() -> None:
    async with FakeOpenAI([refusing(500, "down")]) as first:
        settings = openai_settings(first.url, **QUICK, context_tokens=1024, threads=1, first_delta_timeout_s=60.0)
        async with serving(settings.model_copy(update={"fallbacks": (UpstreamSettings(url="embedded"),)})) as stub:
            heard = await hear(stub, request(sampling=llm_pb2.Sampling(max_tokens=4, seed=1)))
            described = await stub.GetModel(llm_pb2.GetModelRequest())

    assert heard.failure is None
    assert heard.started is not None
    assert (heard.started.upstream, heard.started.model) == ("embedded", "smollm2-135m-instruct")
    assert [one.kind for one in described.upstreams] == ["openai", "embedded"]


async def test_a_client_that_goes_away_while_the_next_one_is_asked_closes_that_too() -> None:
    asked_second, closed = asyncio.Event(), asyncio.Event()

    async def script(exchange: Exchange) -> None:
        asked_second.set()
        await exchange.gone()
        closed.set()

    async with FakeOpenAI([refusing(401, "no")]) as first, FakeOpenAI([script]) as second, two(first, second) as stub:
        call = stub.Generate(request(), timeout=20.0)
        await asyncio.wait_for(asked_second.wait(), 10.0)
        call.cancel()
        await asyncio.wait_for(closed.wait(), 10.0)

    assert call.cancelled()


@pytest.mark.parametrize(
    ("upstreams", "names"),
    [
        ([{}], ["embedded"]),
        ([{"url": "http://a/v1"}, {"url": "http://b/v1"}, {"url": "embedded"}], ["openai", "openai-2", "embedded"]),
        ([{"url": "http://a/v1", "name": "hosted"}, {"url": "http://b/v1"}], ["hosted", "openai"]),
    ],
)
def test_an_upstream_without_a_name_is_called_by_its_kind(upstreams: list[dict[str, str]], names: list[str]) -> None:
    assert upstream_names([UpstreamSettings.model_validate(one) for one in upstreams]) == names


@pytest.mark.parametrize(
    ("fallbacks", "told"),
    [
        ([{"url": "http://b/v1", "name": "openai"}], "two upstreams are called 'openai'"),
        ([{"url": "embedded"}, {"url": "embedded", "name": "again"}], "only once"),
        ([{"url": "localhost:8000", "name": "b"}], "the upstream b: its url must be"),
        ([{"url": "http://b/v1", "name": "b", "api_key": "k", "api_key_file": "f"}], "the upstream b: give either"),
    ],
)
def test_upstreams_that_cannot_be_used_are_refused_by_name(fallbacks: list[dict[str, str]], told: str) -> None:
    settings = LlmSettings(
        upstream=UpstreamSettings(url="http://a/v1"),
        fallbacks=tuple(UpstreamSettings.model_validate(one) for one in fallbacks),
    )

    with pytest.raises(UpstreamSettingsError, match=told):
        make_upstreams(settings)


def test_fallbacks_come_from_the_environment_as_a_list(monkeypatch: pytest.MonkeyPatch) -> None:
    listed = [{"url": "http://127.0.0.1:11434/v1", "model": "qwen3:4b"}, {"url": "embedded"}]
    monkeypatch.setenv("LIMBIC_LLM__UPSTREAM__URL", "https://models.example/v1")
    monkeypatch.setenv("LIMBIC_LLM__FALLBACKS", json.dumps(listed))

    upstreams = load_settings().llm.upstreams

    assert [one.url for one in upstreams] == ["https://models.example/v1", *(one["url"] for one in listed)]
    assert [one.is_embedded for one in upstreams] == [False, False, True]


def test_a_fallback_without_a_url_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIMBIC_LLM__FALLBACKS", '[{"model": "qwen3:4b"}]')

    with pytest.raises(SettingsError, match=r"llm\.fallbacks: .*each needs a url"):
        load_settings()


def test_the_documents_example_is_a_file_of_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    document = (Path(__file__).parents[2] / "docs" / "living-llm.md").read_text("utf-8")
    (example,) = re.findall(r"```toml\n(\[llm\.upstream\].*?)```", document, re.DOTALL)
    file = tmp_path / "limbic.toml"
    file.write_text(example, "utf-8")
    monkeypatch.setenv("LIMBIC_CONFIG", str(file))

    assert upstream_names(load_settings().llm.upstreams) == ["hosted", "local", "embedded"]
