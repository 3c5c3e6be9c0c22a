"""What the openai upstream makes of a real HTTP server that misbehaves after its first words."""

from __future__ import annotations

import asyncio

import grpc
import pytest

from limbic.llm.v1 import llm_pb2
from tests.living_llm.fake_openai import FakeOpenAI, Script
from tests.living_llm.misbehaviour import (
    assert_failed,
    comments,
    endless_line,
    enormous_chunk,
    error_object,
    half_a_character,
    hang,
    heard_from,
    just_end,
    no_json,
    no_utf8,
    reset,
    saying_first,
    trickle,
    trickling_bytes,
)
from tests.living_llm.service import hear, openai_settings, request, serving


@pytest.mark.parametrize(
    "then", [reset, error_object, half_a_character, just_end, no_json, no_utf8, enormous_chunk, endless_line]
)
async def test_after_the_first_words_every_failure_is_a_cut_and_nothing_is_tried_again(then: Script) -> None:
    heard, fake = await heard_from(saying_first(then))

    assert heard.text == "Once upon"
    assert_failed(heard, grpc.StatusCode.ABORTED, "GENERATION_CUT", "cut")
    assert heard.failure is not None
    assert "secret" not in heard.failure.message
    assert len(fake.exchanges) == 1


@pytest.mark.parametrize("then", [hang, comments, trickling_bytes])
async def test_silence_after_the_first_words_is_a_cut_also_where_something_else_is_sent(then: Script) -> None:
    heard, _ = await heard_from(saying_first(then), idle_timeout_s=0.1)

    assert heard.text == "Once upon"
    assert_failed(heard, grpc.StatusCode.ABORTED, "GENERATION_CUT", "cut")


async def test_a_reply_that_trickles_for_ever_is_cut_when_the_time_is_up() -> None:
    async with FakeOpenAI([saying_first(trickle)]) as fake:
        async with serving(openai_settings(fake.url, idle_timeout_s=0.25, circuit_failures=1)) as stub:
            # Longer than the time between two deltas, so that it is not that which ends it.
            heard = await hear(stub, request(), timeout_s=0.6)
            described = await stub.GetModel(llm_pb2.GetModelRequest())
        await asyncio.wait_for(fake.left(), 5.0)

    assert heard.text.startswith("Once upono")
    assert heard.failure is not None
    assert heard.failure.code in (grpc.StatusCode.ABORTED, grpc.StatusCode.DEADLINE_EXCEEDED)
    assert len(fake.exchanges) == 1
    assert described.upstreams[0].circuit == "closed"
