"""The embedded upstream with the real SmolLM2, alone and behind the real gRPC service."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest
import pytest_asyncio

from limbic.llm.v1 import llm_pb2, llm_pb2_grpc
from limbic.runtime.models import ModelFile, find_model
from limbic.runtime.settings import LlmSettings
from services.living_llm.composing import Composer
from services.living_llm.embedded import EmbeddedUpstream
from services.living_llm.engine import GenerationAbortedError
from services.living_llm.failures import OverloadedFailure, PromptTooLongError
from services.living_llm.formats import ChatTemplate
from services.living_llm.speech import (
    Delta,
    Finished,
    FinishReason,
    Message,
    Role,
    Sampling,
    Speech,
    Started,
    UpstreamEvent,
)
from tests.living_llm.service import PERSONA, character, hear, request, serving, user

pytestmark = pytest.mark.asyncio(loop_scope="module")

MODEL = find_model("smollm2-135m-instruct")
GREEDY = Sampling(0.0, 1.0, 0.0, 0.0, 16)
# By the model's own template, so that a reply is not over at the first line's end.
LONG = Sampling(0.0, 1.0, 0.0, 0.0, 400)
# One thread and time enough, so that a machine that is busy with other things changes nothing.
PATIENT = LlmSettings(context_tokens=1024, threads=1, first_delta_timeout_s=100.0)


def make_upstream(file: ModelFile = MODEL, **changes: object) -> EmbeddedUpstream:
    options: dict[str, object] = {"context_tokens": 1024, "threads": 1, "queue": 1, "prompt_format": "chat-template"}
    return EmbeddedUpstream(file, **{**options, **changes})  # type: ignore[arg-type]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def upstream() -> AsyncIterator[EmbeddedUpstream]:
    made = make_upstream()
    await made.start()
    yield made
    await made.stop()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stub() -> AsyncIterator[llm_pb2_grpc.LivingLlmServiceAsyncStub]:
    settings = PATIENT.model_copy(update={"listen": "127.0.0.1:0"})
    async with serving(settings) as made:
        yield made


def speech(*texts: str, sampling: Sampling = GREEDY, persona: str = PERSONA) -> Speech:
    """A conversation in which user and character take turns, the last word being the user's."""
    first = Role.USER if len(texts) % 2 else Role.ASSISTANT
    roles = [first, Role.ASSISTANT if first is Role.USER else Role.USER]
    messages = tuple(Message(roles[index % 2], text) for index, text in enumerate(texts))
    return Speech("s", persona, messages, "", sampling)


async def reply(upstream: EmbeddedUpstream, wanted: Speech) -> tuple[Started, str, Finished]:
    events = [event async for event in upstream.generate(wanted)]
    started, finished = events[0], events[-1]
    assert isinstance(started, Started)
    assert isinstance(finished, Finished)
    deltas = [event.text for event in events[1:-1] if isinstance(event, Delta)]
    assert len(deltas) == len(events) - 2
    assert all(deltas)
    return started, "".join(deltas), finished


async def test_a_turn_streams_through_the_service(stub: llm_pb2_grpc.LivingLlmServiceAsyncStub) -> None:
    heard = await hear(stub, request(user("Hello! How was your day?"), sampling=llm_pb2.Sampling(seed=4)))

    assert heard.failure is None
    assert heard.started is not None
    assert (heard.started.upstream, heard.started.model) == ("embedded", "smollm2-135m-instruct")
    assert heard.done is not None
    assert heard.done.usage.prompt_tokens > 200
    assert heard.done.usage.completion_tokens > 0
    assert heard.text.strip()
    # A line of the transcript, and neither the friend's next one nor a letter.
    assert "\n" not in heard.text
    assert "Friend:" not in heard.text


async def test_a_seed_makes_a_reply_repeatable(stub: llm_pb2_grpc.LivingLlmServiceAsyncStub) -> None:
    wanted = request(user("Tell me about the sea."), sampling=llm_pb2.Sampling(seed=11, temperature=1.0))

    first, second = await hear(stub, wanted), await hear(stub, wanted)

    assert first.text == second.text


async def test_the_next_turn_computes_only_what_is_new(stub: llm_pb2_grpc.LivingLlmServiceAsyncStub) -> None:
    said = [user("Hello! How was your day?"), character("Quiet. I read a book."), user("Which one?")]
    following = [*said, character("One about whales."), user("I like whales.")]

    first = await hear(stub, request(*said))
    second = await hear(stub, request(*following))

    assert first.done is not None
    assert second.done is not None
    fresh = second.done.usage.prompt_tokens - second.done.usage.cached_tokens
    assert second.done.usage.cached_tokens > 200
    # The two new messages, the names in front of them and the last one's end.
    assert fresh < 30


async def test_get_model_says_what_speaks(stub: llm_pb2_grpc.LivingLlmServiceAsyncStub) -> None:
    answer = await stub.GetModel(llm_pb2.GetModelRequest())

    described = answer.upstreams[0]
    assert (described.name, described.kind, described.model) == ("embedded", "embedded", "smollm2-135m-instruct")
    assert (described.context_tokens, described.circuit, described.sha256) == (1024, "closed", MODEL.sha256)


async def test_a_prompt_that_cannot_fit_is_refused_and_the_next_one_answered(
    stub: llm_pb2_grpc.LivingLlmServiceAsyncStub,
) -> None:
    for text in ("word " * 2000, "x" * 60_000):
        heard = await hear(stub, request(user(text)))
        assert heard.failure is not None
        assert (heard.failure.code, heard.failure.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "PROMPT_TOO_LONG")

    assert (await hear(stub, request(user("Hi")))).failure is None


async def test_what_does_not_fit_is_left_out_by_whole_turns_and_counted(upstream: EmbeddedUpstream) -> None:
    texts = [f"This is message number {number}, and it goes on for a little while." for number in range(81)]

    started, _, finished = await reply(upstream, speech(*texts))

    assert started.omitted_messages > 0
    assert started.omitted_messages % 2 == 0
    assert finished.usage.prompt_tokens < 1024


async def test_a_template_that_writes_much_around_each_message_still_gets_a_prompt_that_fits(
    upstream: EmbeddedUpstream,
) -> None:
    assert upstream._model is not None
    engine = upstream._model.engine
    wordy = "{% for m in messages %}And then, as it is told, the following was said: {{ m.content }}\n{% endfor %}"
    composer = Composer(ChatTemplate(wordy, engine.vocabulary), engine.vocabulary, engine.context_tokens)

    composed = composer.compose(speech(*["word"] * 75))

    assert composed.omitted > 0
    assert composed.omitted % 2 == 0
    assert len(composed.tokens) < engine.context_tokens


async def test_where_the_template_lets_the_model_think_first_its_thoughts_are_not_said(
    upstream: EmbeddedUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert upstream._model is not None
    engine = upstream._model.engine
    thinking = ChatTemplate("{% for m in messages %}{{ m.content }}\n{% endfor %}<think>\n", engine.vocabulary)
    monkeypatch.setattr(upstream._model, "composer", Composer(thinking, engine.vocabulary, engine.context_tokens))

    _, text, finished = await reply(upstream, speech("Hi"))

    # It thought up to its ceiling, and nothing was left to say.
    assert text == ""
    assert finished.usage.completion_tokens == GREEDY.max_tokens


async def test_a_stop_may_lie_across_tokens(upstream: EmbeddedUpstream) -> None:
    question = "Count from one to ten in words."
    _, whole, _ = await reply(upstream, speech(question))
    assert len(whole) > 24
    stop = whole[9:17]

    _, text, finished = await reply(upstream, speech(question, sampling=Sampling(0.0, 1.0, 0.0, 0.0, 16, (stop,))))

    assert text == whole[: whole.index(stop)]
    assert finished.reason is FinishReason.STOP


async def test_the_ceiling_is_kept(upstream: EmbeddedUpstream) -> None:
    _, _, finished = await reply(upstream, speech("Tell me a long story.", sampling=Sampling(0.0, 1.0, 0.0, 0.0, 5)))

    assert finished.usage.completion_tokens == 5
    assert finished.reason is FinishReason.LENGTH


async def test_a_caller_who_goes_away_during_the_prompt_stops_it(upstream: EmbeddedUpstream) -> None:
    wanted = speech("Here is a list. " + "apples, pears and plums; " * 90)
    async with aclosing(upstream.generate(wanted)) as events:
        # Sent when the model's thread begins with the prompt.
        assert isinstance(await anext(events), Started)

    _, text, finished = await reply(upstream, wanted)

    # Not all of the prompt had been computed: it was stopped inside.
    assert finished.usage.cached_tokens < finished.usage.prompt_tokens - 1
    assert text


async def test_a_caller_who_goes_away_during_the_reply_stops_it(upstream: EmbeddedUpstream) -> None:
    wanted = speech("Tell me a very long story.", sampling=LONG)
    async with aclosing(upstream.generate(wanted)) as events:
        assert isinstance(await anext(events), Started)
        assert isinstance(await anext(events), Delta)

    _, text, finished = await reply(upstream, speech("Tell me a very long story.", "Well.", "And?"))

    assert text
    # What was known of the first prompt is still known.
    assert finished.usage.cached_tokens > 20


async def test_beyond_the_queue_there_is_no_room_and_who_leaves_it_makes_some(upstream: EmbeddedUpstream) -> None:
    running = upstream.generate(speech("Tell me a very long story.", sampling=LONG))
    async with aclosing(running):
        assert isinstance(await anext(running), Started)
        waiting = asyncio.create_task(reply(upstream, speech("Hi")))
        await asyncio.sleep(0)
        with pytest.raises(OverloadedFailure):
            await reply(upstream, speech("Hi"))
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        await asyncio.sleep(0)
        waiting = asyncio.create_task(reply(upstream, speech("Hi")))
        await asyncio.sleep(0)
    _, text, _ = await waiting

    assert text


class Watched(EmbeddedUpstream):
    """Says when the model's thread has begun with a prompt, which no client can see."""

    def __init__(self) -> None:
        super().__init__(MODEL, context_tokens=1024, threads=1, queue=1, prompt_format="chat-template")
        self.begun = asyncio.Event()

    async def generate(self, speech: Speech) -> AsyncGenerator[UpstreamEvent]:
        async with aclosing(super().generate(speech)) as events:
            async for event in events:
                self.begun.set()
                yield event


async def test_a_client_that_goes_away_during_the_prompt_stops_it() -> None:
    watched = Watched()
    wanted = request(
        user("Here is a list. " + "apples, pears and plums; " * 90), sampling=llm_pb2.Sampling(max_tokens=4)
    )
    async with serving(PATIENT.model_copy(update={"listen": "127.0.0.1:0"}), watched) as stub:
        call = stub.Generate(wanted, timeout=20.0)
        await watched.begun.wait()
        call.cancel()
        heard = await hear(stub, wanted)

    assert heard.done is not None
    assert heard.done.usage.cached_tokens < heard.done.usage.prompt_tokens - 1


async def test_there_is_exactly_one_beginning_of_sequence(tmp_path: Path) -> None:
    # The model as it is wants none. Here the flag is set; the template writes one by itself, the transcript does not.
    data = MODEL.path.read_bytes()
    key = b"tokenizer.ggml.add_bos_token"
    at = data.index(key) + len(key) + 4
    assert data[at : at + 1] == b"\x00"
    path = tmp_path / "bos.gguf"
    path.write_bytes(data[:at] + b"\x01" + data[at + 1 :])

    for prompt_format, more in (("chat-template", 0), ("transcript", 1)):
        counts = []
        for file in (MODEL, ModelFile("bos", path, "")):
            made = make_upstream(file, prompt_format=prompt_format)
            await made.start()
            try:
                _, _, finished = await reply(made, speech("Hi", sampling=Sampling(0.0, 1.0, 0.0, 0.0, 1)))
            finally:
                await made.stop()
            counts.append(finished.usage.prompt_tokens)
        assert counts[1] == counts[0] + more


async def test_too_long_a_persona_is_refused(upstream: EmbeddedUpstream) -> None:
    with pytest.raises(PromptTooLongError) as refused:
        await reply(upstream, speech("Hi", persona="You are Ada. " * 500))

    assert refused.value.field == "persona"


async def test_a_prompt_is_measured_while_a_reply_is_being_made(upstream: EmbeddedUpstream) -> None:
    running = upstream.generate(speech("Tell me a very long story.", sampling=LONG))
    async with aclosing(running):
        assert isinstance(await anext(running), Started)
        await upstream.check(speech("Hi"))
        with pytest.raises(PromptTooLongError) as refused:
            await upstream.check(speech("word " * 2000))

    assert refused.value.field == "messages"


async def idle(upstream: EmbeddedUpstream) -> None:
    """Wait until the model's thread has read ahead."""
    await asyncio.get_running_loop().run_in_executor(upstream._owner, lambda: None)


def fresh(finished: Finished) -> int:
    return finished.usage.prompt_tokens - finished.usage.cached_tokens


@pytest.mark.parametrize("prompt_format", ["transcript", "chat-template"])
async def test_the_first_turn_finds_the_persona_read_and_each_further_one_all_that_was_said(prompt_format: str) -> None:
    made = make_upstream(prompt_format=prompt_format, persona=PERSONA)
    await made.start()
    try:
        _, text, first = await reply(made, speech("Hi there! How are you?"))
        await idle(made)
        _, _, second = await reply(made, speech("Hi there! How are you?", text, "Good to hear."))
    finally:
        await made.stop()

    assert second.usage.prompt_tokens > first.usage.prompt_tokens
    # The words themselves and what stands around them; some tokens are made of the end of the one and the beginning of the other.
    assert fresh(first) < 16
    assert fresh(second) < 16


async def test_a_persona_that_does_not_fit_is_no_reason_not_to_start() -> None:
    made = make_upstream(persona="You are Ada. " * 500)
    await made.start()
    try:
        _, text, _ = await reply(made, speech("Hi"))
    finally:
        await made.stop()

    assert text


class WatchedEngine:
    """Counts the prompts that the model's thread begins with, and those that were broken off."""

    def __init__(self, upstream: EmbeddedUpstream, monkeypatch: pytest.MonkeyPatch) -> None:
        assert upstream._model is not None
        engine = upstream._model.engine
        self._evaluate = engine.evaluate
        self.begun = [threading.Event() for _ in range(4)]
        self.aborted = 0
        self._calls = 0
        monkeypatch.setattr(engine, "evaluate", self._watched)

    def _watched(self, *arguments: Any) -> int:
        self.begun[self._calls].set()
        self._calls += 1
        try:
            return self._evaluate(*arguments)
        except GenerationAbortedError:
            self.aborted += 1
            raise


@pytest.mark.parametrize("same", [True, False])
async def test_whoever_comes_does_not_wait_for_another_conversation_to_be_read_ahead(
    upstream: EmbeddedUpstream, monkeypatch: pytest.MonkeyPatch, same: bool
) -> None:
    await idle(upstream)
    watched = WatchedEngine(upstream, monkeypatch)
    said = "Here is a list. " + "apples, pears and plums; " * 60
    # What the words of state change is computed again when they are gone, which takes a while here.
    _, text, _ = await reply(upstream, replace(speech(said), state="Be calm."))
    await asyncio.to_thread(watched.begun[1].wait, 20.0)

    _, _, finished = await reply(upstream, speech(said, text, "And?") if same else speech("Hi"))

    assert watched.aborted == (0 if same else 1)
    assert not same or fresh(finished) < 16
