"""The same conversation through both kinds of upstream: the model in this process, and a real server that speaks the OpenAI protocol."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
import pytest_asyncio

from benchmarks._llama_cpp_server import LlamaCppServer, llama_cpp_server
from limbic.runtime.models import find_model
from services.living_llm.embedded import EmbeddedUpstream
from services.living_llm.openai import OpenAIUpstream
from services.living_llm.speech import Delta, Finished, FinishReason, Message, Role, Sampling, Speech, Started
from services.living_llm.upstream import Upstream

pytestmark = pytest.mark.asyncio(loop_scope="module")

CONTEXT_TOKENS = 1024
PERSONA = "You are Ada, a warm and curious friend."
GREEDY = Sampling(0.0, 1.0, 0.0, 0.0, 12)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[LlamaCppServer]:
    log = tmp_path_factory.mktemp("server") / "log"
    async with llama_cpp_server(log, context_tokens=CONTEXT_TOKENS, threads=1) as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def served(server: LlamaCppServer) -> AsyncIterator[OpenAIUpstream]:
    made = OpenAIUpstream(server.url, model="", api_key="", context_tokens=CONTEXT_TOKENS, connect_timeout_s=5.0)
    await made.start()
    yield made
    await made.stop()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def embedded() -> AsyncIterator[EmbeddedUpstream]:
    made = EmbeddedUpstream(
        find_model("smollm2-135m-instruct"),
        context_tokens=CONTEXT_TOKENS,
        threads=1,
        queue=1,
        prompt_format="chat-template",
    )
    await made.start()
    yield made
    await made.stop()


def speech(*texts: str, sampling: Sampling = GREEDY) -> Speech:
    roles = (Role.USER, Role.ASSISTANT)
    messages = tuple(Message(roles[number % 2], text) for number, text in enumerate(texts))
    return Speech("s", PERSONA, messages, "Be warm and close.", sampling)


async def heard(upstream: Upstream, wanted: Speech) -> tuple[Started, list[str], Finished]:
    events = [event async for event in upstream.generate(wanted)]
    started, finished = events[0], events[-1]
    assert isinstance(started, Started)
    assert isinstance(finished, Finished)
    deltas = [event.text for event in events[1:-1] if isinstance(event, Delta)]
    assert len(deltas) == len(events) - 2
    return started, deltas, finished


async def test_both_say_the_same_word_by_word_turn_after_turn(
    served: OpenAIUpstream, embedded: EmbeddedUpstream
) -> None:
    said = ["Hello! How was your day?"]
    for following in ("I walked through the park.", "What should I cook tonight?"):
        started, here, ended = await heard(embedded, speech(*said))
        other, there, finished = await heard(served, speech(*said))

        # The same prompt, the same model and no chance: whatever is lost or added on the way would show.
        # A character that the ceiling cuts is left out here and completed there.
        words, others = "".join(here).strip(), "".join(there).strip()
        assert words
        assert others.startswith(words)
        assert len(others[len(words) :].strip()) <= 1
        assert min(len(here), len(there)) > 3
        assert (started.upstream, started.model) == ("embedded", "smollm2-135m-instruct")
        assert (other.upstream, other.model) == ("openai", "smollm2")
        assert finished.reason is ended.reason is FinishReason.LENGTH
        assert (ended.usage.completion_tokens, ended.usage.prompt_tokens > 50) == (GREEDY.max_tokens, True)
        # This server does not count while it streams.
        assert finished.usage.completion_tokens == 0
        said += ["".join(here), following]


async def test_both_stop_before_a_stop_that_lies_across_tokens(
    served: OpenAIUpstream, embedded: EmbeddedUpstream
) -> None:
    question = "Count from one to ten in words."
    _, deltas, _ = await heard(embedded, speech(question))
    whole = "".join(deltas)
    stop = whole[9:17]
    wanted = speech(question, sampling=replace(GREEDY, stop=(stop,)))

    for upstream in (embedded, served):
        _, deltas, finished = await heard(upstream, wanted)
        assert "".join(deltas).strip() == whole[: whole.index(stop)].strip()
        assert finished.reason is FinishReason.STOP


async def test_the_server_stops_computing_when_the_caller_has_gone(
    server: LlamaCppServer, served: OpenAIUpstream
) -> None:
    # A reply that would take many times as long as what is waited for below.
    events = served.generate(speech("Tell me a very long story.", sampling=replace(GREEDY, max_tokens=800)))
    assert isinstance(await anext(events), Started)
    assert isinstance(await anext(events), Delta)
    spent_speaking = server.cpu_s()
    await events.aclose()

    async with asyncio.timeout(60.0):
        while (spent := server.cpu_s()) != spent_speaking:
            spent_speaking = spent
            await asyncio.sleep(0.5)
    _, deltas, _ = await heard(served, speech("Hi"))

    assert deltas


async def test_the_server_is_described_by_what_it_says_of_itself(served: OpenAIUpstream) -> None:
    described = await served.describe()

    assert (described.kind, described.model, described.context_tokens) == ("openai", "smollm2", CONTEXT_TOKENS)
