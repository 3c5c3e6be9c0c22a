"""The generative head behind the real service: the same calls, and words of its own in the explanation."""

from __future__ import annotations

import asyncio
import functools
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import llama_cpp
import pytest

from limbic.affect.v1 import affect_pb2, affect_pb2_grpc
from limbic.runtime.channels import open_channel
from limbic.runtime.llama import AbortFlag
from limbic.runtime.server import RunningServer
from limbic.runtime.settings import AffectSettings
from services.affect_head.loading import open_head
from services.affect_head.server import AffectHeadService
from tests.affect_head.tiny_language_model import head_fields, write_language_model


@pytest.fixture
async def served(settings: AffectSettings, tmp_path: Path) -> AsyncIterator[affect_pb2_grpc.AffectHeadServiceAsyncStub]:
    """A client of a service with a tiny generative head that the settings name."""
    path = write_language_model(tmp_path / "head.gguf", fields=head_fields())
    settings = settings.model_copy(update={"model": str(path)})
    server = RunningServer(
        AffectHeadService(settings, functools.partial(open_head, settings)), settings, drain_s=0.5, lame_duck_s=0
    )
    await server.start()
    async with open_channel(f"127.0.0.1:{server.port}") as channel:
        yield affect_pb2_grpc.AffectHeadServiceStub(channel)
    await server.stop()


async def test_a_reading_has_axes_and_no_emotions_and_no_reason(
    served: affect_pb2_grpc.AffectHeadServiceAsyncStub,
) -> None:
    reading = (await served.Classify(affect_pb2.ClassifyRequest(text="i love you", context=["hello"]))).reading

    assert all(-1 <= value <= 1 for value in (reading.valence, reading.intimacy, reading.tension))
    assert 0 < reading.confidence < 1
    assert not reading.emotions
    assert reading.reasoning == ""
    assert (reading.head.id, reading.head.quantization) == ("tiny-generative", "F32")
    assert reading.latency.nanos > 0


async def test_an_explanation_brings_the_heads_own_words_and_the_words_that_moved_it(
    served: affect_pb2_grpc.AffectHeadServiceAsyncStub,
) -> None:
    explained = await served.Explain(affect_pb2.ExplainRequest(text="i love you"))

    assert [entry.word for entry in explained.words] == ["i", "love", "you"]
    assert explained.reading.reasoning
    assert explained.reading.reasoning != explained.sentence


async def test_the_card_says_that_there_are_no_emotions(served: affect_pb2_grpc.AffectHeadServiceAsyncStub) -> None:
    card = await served.GetModelCard(affect_pb2.GetModelCardRequest())

    assert not card.emotions
    assert (card.context_turns, card.context_tokens) == (2, 512)


async def test_a_client_that_goes_away_stops_the_prefill(
    served: affect_pb2_grpc.AffectHeadServiceAsyncStub, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoding, stopped, ended = threading.Event(), threading.Event(), threading.Event()
    passes: list[int] = []
    decode, stop = llama_cpp.llama_decode, AbortFlag.set

    def held_decode(*arguments: Any) -> int:
        decoding.set()
        assert stopped.wait(60)
        passes.append(int(decode(*arguments)))
        ended.set()
        return passes[-1]

    def noted_stop(flag: AbortFlag) -> None:
        stop(flag)
        stopped.set()

    monkeypatch.setattr(llama_cpp, "llama_decode", held_decode)
    monkeypatch.setattr(AbortFlag, "set", noted_stop)
    call = served.Classify(affect_pb2.ClassifyRequest(text="a long message, and no end of it; " * 200))
    assert await asyncio.to_thread(decoding.wait, 60)

    call.cancel()
    assert await asyncio.to_thread(ended.wait, 60)
    monkeypatch.undo()

    # llama.cpp's status for a computation that was stopped.
    assert passes == [2]
    assert (await served.Classify(affect_pb2.ClassifyRequest(text="i love you"))).reading.head.id == "tiny-generative"
