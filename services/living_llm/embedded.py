"""The upstream inside this process: a GGUF model, one owner thread, a bounded queue in front of it.

A llama.cpp context must never be used by two threads. So one thread owns model and context for the life of the service, and requests
reach it one after another. A caller who goes away takes its request out of the queue, or sets the flag that llama.cpp polls inside a
computation: the thread is free again within one node of the graph.

While nobody waits, the thread reads ahead. What the next prompt of a conversation will begin with is known as soon as a reply has ended:
everything but the person's next words. It is computed then, so that the next turn computes only what is new, and that holds as well
where the history has just been cut to fit the window, which is seconds of work. Before the first turn it reads the configured persona.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from limbic.runtime.llama import LlamaError
from limbic.runtime.logs import get_logger
from limbic.runtime.models import ModelFile
from services.living_llm.adapters import Adapter, adapter_of
from services.living_llm.composing import Composed, Composer
from services.living_llm.control_vectors import Steering, load_steering
from services.living_llm.engine import Engine, GenerationAbortedError
from services.living_llm.failures import InvalidFailure, OverloadedFailure, PromptTooLongError
from services.living_llm.formats import PromptFormatError, choose_format
from services.living_llm.metrics import QUEUE_DEPTH
from services.living_llm.reply_text import ReplyText
from services.living_llm.sessions import Sessions
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
    Usage,
)
from services.living_llm.upstream import Description

_log = get_logger(__name__)


class _Job:
    """One reply in the making: where its events go, whether anyone still wants it, and what was said once it is complete."""

    def __init__(self, speech: Speech) -> None:
        self.speech = speech
        self.said = ""
        self.events: asyncio.Queue[UpstreamEvent | None] = asyncio.Queue()
        self.wanted = True
        self._loop = asyncio.get_running_loop()

    def post(self, event: UpstreamEvent | None) -> None:
        """Hand an event to the caller, from any thread; None says that nothing follows."""
        self._loop.call_soon_threadsafe(self.events.put_nowait, event)


class EmbeddedUpstream:
    """A GGUF model in this process.

    Args:
        file: the model.
        context_tokens: the window that is wanted.
        threads: threads of a computation.
        queue: replies that may wait, besides the one that is being made.
        prompt_format: auto, transcript or chat-template.
        persona: who speaks in most conversations; read before the first one.
        session_state_bytes: what may be kept of conversations that do not speak now.
        adapters: LoRA adapters by persona; the first one that fits counts.
        steering_dir: control vectors of this model, or None.
    """

    name = "embedded"

    def __init__(
        self,
        file: ModelFile,
        *,
        context_tokens: int,
        threads: int,
        queue: int,
        prompt_format: str = "auto",
        persona: str = "",
        session_state_bytes: int = 0,
        adapters: Sequence[Adapter] = (),
        steering_dir: Path | None = None,
    ) -> None:
        self._file = file
        self._context_tokens = context_tokens
        self._threads = threads
        self._room = 1 + queue
        self._wanted_format = prompt_format
        self._owner = ThreadPoolExecutor(max_workers=1, thread_name_prefix="llama")
        # Measures prompts while the owner speaks. Not one of asyncio's threads: the model is freed only after this one has ended.
        self._measurer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="measure")
        self._persona = persona
        # Guards what the abort flag would hit: a job, or the reading ahead of a conversation.
        self._switch = threading.Lock()
        self._current: _Job | None = None
        self._ahead: Speech | None = None
        self._stopping = False
        self._unfinished = 0
        self._sha256 = ""
        self._engine: Engine | None = None
        self._composer: Composer | None = None
        self._unsaid: tuple[int, ...] = ()
        self._sessions = Sessions(session_state_bytes)
        self._adapters = tuple(adapters)
        self._steering_dir = steering_dir
        self._steering: Steering | None = None

    async def start(self) -> None:
        """Verify and load the model, on its own thread, and read the persona.

        Raises:
            ModelFileError: the model or an adapter is missing or not what it should be.
            LlamaError: llama.cpp cannot use it.
            PromptFormatError: the prompt format that is wanted does not suit it.
            ControlVectorError: the control vectors do not suit it.
        """
        await asyncio.get_running_loop().run_in_executor(self._owner, self._load)

    async def stop(self) -> None:
        """Stop what is being computed and free the model."""
        with self._switch:
            self._stopping = True
            if self._engine is not None:
                self._engine.abort.set()
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(None, self._measurer.shutdown)
        await loop.run_in_executor(self._owner, self._unload)
        self._owner.shutdown()

    async def describe(self) -> Description:
        """Say which model speaks."""
        window = self._engine.context_tokens if self._engine is not None else 0
        return Description(self.name, "embedded", self._file.name, window, self._sha256)

    async def check(self, speech: Speech) -> None:
        """Measure the prompt, also while a reply is being made.

        Raises:
            PromptTooLongError: persona and last message do not fit the window.
            InvalidFailure: the prompt cannot be written.
        """
        await asyncio.get_running_loop().run_in_executor(self._measurer, self._measure, speech)

    async def generate(self, speech: Speech) -> AsyncGenerator[UpstreamEvent]:
        """Make one reply.

        Raises:
            OverloadedFailure: too many replies wait.
            InvalidFailure: llama.cpp failed.
            PromptTooLongError: persona and last message do not fit the window.
        """
        if self._unfinished >= self._room:
            raise OverloadedFailure("queue_full", "too many replies wait for the embedded model")
        job = _Job(speech)
        self._changed(+1)
        future = self._owner.submit(self._run, job)
        with self._switch:
            # Reading ahead goes on where it reads what this job needs.
            if self._ahead is not None and self._engine is not None and not _follows(speech, self._ahead):
                self._engine.abort.set()
        loop = asyncio.get_running_loop()

        def done(_: Future[None]) -> None:
            loop.call_soon_threadsafe(self._ended, job)
            job.post(None)

        future.add_done_callback(done)
        try:
            while (event := await job.events.get()) is not None:
                yield event
            future.result()
        finally:
            future.cancel()
            with self._switch:
                job.wanted = False
                if self._current is job and self._engine is not None:
                    self._engine.abort.set()

    def _ended(self, job: _Job) -> None:
        self._changed(-1)
        if job.said and not self._unfinished and not self._stopping:
            messages = (*job.speech.messages, Message(Role.ASSISTANT, job.said))
            self._owner.submit(self._read_ahead, replace(job.speech, messages=messages))

    def _changed(self, by: int) -> None:
        self._unfinished += by
        QUEUE_DEPTH.set(max(0, self._unfinished - 1))

    def _measure(self, speech: Speech) -> None:
        assert self._composer is not None
        with _failures():
            self._composer.compose(speech)

    # What follows runs on the owner thread.

    def _load(self) -> None:
        self._sha256 = self._file.verify()
        engine = Engine(self._file.path, context_tokens=self._context_tokens, threads=self._threads)
        self._engine = engine
        wanted = self._wanted_format if self._wanted_format != "auto" else self._file.prompt_format or "auto"
        prompt_format = choose_format(wanted, engine.chat_template, engine.vocabulary)
        self._unsaid = engine.vocabulary.opening_with(prompt_format.unsaid)
        self._composer = composer = Composer(prompt_format, engine.vocabulary, engine.context_tokens)
        for adapter in self._adapters:
            adapter.file.verify()
            engine.add_adapter(adapter.name, adapter.file.path, adapter.scale)
        if self._steering_dir is not None:
            self._steering = load_steering(
                self._steering_dir, model_sha256=self._sha256, layers=engine.layers, width=engine.width
            )
        self._warm_up(engine, composer)

    def _warm_up(self, engine: Engine, composer: Composer) -> None:
        # The first computation also makes the threads and brings the weights into memory; the sample is the first step after a prompt.
        greedy = Sampling(0.0, 1.0, 0.0, 0.0, 1)
        try:
            engine.use_adapter(adapter_of(self._persona, self._adapters))
            engine.evaluate(composer.next_beginning(Speech("", self._persona, (), "", greedy)))
        except PromptTooLongError:
            _log.warning("the configured persona does not fit the model's window", context_tokens=engine.context_tokens)
            return
        next(engine.sample(greedy))

    def _read_ahead(self, speech: Speech) -> None:
        with self._switch:
            if self._unfinished or self._stopping or self._engine is None or self._composer is None:
                return
            self._ahead = speech
            self._engine.abort.clear()
        try:
            beginning = self._composer.next_beginning(speech)
            self._enter(speech, self._engine, beginning)
            self._engine.evaluate(beginning)
        except (GenerationAbortedError, PromptTooLongError):
            pass
        except (LlamaError, PromptFormatError) as error:
            _log.warning("could not read ahead", reason=type(error).__name__)
        finally:
            with self._switch:
                self._ahead = None

    def _unload(self) -> None:
        if self._engine is not None:
            self._engine.close()
            self._engine = None

    def _run(self, job: _Job) -> None:
        assert self._engine is not None
        assert self._composer is not None
        with self._switch:
            if not job.wanted:
                return
            self._current = job
            self._engine.abort.clear()
        try:
            with _failures():
                self._speak(job, self._engine, self._composer.compose(job.speech))
        except GenerationAbortedError:
            pass
        finally:
            with self._switch:
                self._current = None

    def _speak(self, job: _Job, engine: Engine, composed: Composed) -> None:
        job.post(Started(self.name, self._file.name, composed.omitted))
        sampling = job.speech.sampling
        self._enter(job.speech, engine, composed.tokens)
        steering = self._steering.mix(dict(job.speech.steering)) if self._steering is not None else None
        cached = engine.evaluate(composed.tokens, steering)
        text = ReplyText((*composed.prompt.stops, *sampling.stop))
        reason, made, said = FinishReason.LENGTH, 0, list[str]()
        for token in engine.sample(sampling, self._unsaid):
            if engine.vocabulary.ends_generation(token):
                reason = FinishReason.STOP
                break
            made += 1
            if delta := text.feed(engine.vocabulary.piece(token)):
                said.append(delta)
                job.post(Delta(delta))
            if text.stopped:
                reason = FinishReason.STOP
                break
            if made >= sampling.max_tokens:
                break
        if rest := text.finish():
            said.append(rest)
            job.post(Delta(rest))
        job.said = "".join(said)
        job.post(Finished(reason, Usage(len(composed.tokens), cached, made)))

    def _enter(self, speech: Speech, engine: Engine, tokens: Sequence[int]) -> None:
        self._sessions.enter(engine, speech.session_id, adapter_of(speech.persona, self._adapters), tokens)


def _follows(speech: Speech, earlier: Speech) -> bool:
    known = len(earlier.messages)
    return speech.persona == earlier.persona and speech.messages[:known] == earlier.messages


@contextmanager
def _failures() -> Iterator[None]:
    try:
        yield
    except LlamaError as error:
        raise InvalidFailure("llama", "llama.cpp failed") from error
    except PromptFormatError as error:
        raise InvalidFailure("prompt_format", str(error)) from error
