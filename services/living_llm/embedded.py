"""The upstream inside this process: a GGUF model, one owner thread, a bounded queue in front of it.

A llama.cpp context must never be used by two threads. So one thread owns model and context for the life of the service, and requests
reach it one after another. A caller who goes away takes its request out of the queue, or sets the flag that llama.cpp polls inside a
computation: the thread is free again within one node of the graph.
"""

from __future__ import annotations

import asyncio
import functools
import threading
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import Future, ThreadPoolExecutor

from limbic.runtime.llama import LlamaError
from limbic.runtime.models import ModelFile
from services.living_llm.engine import Engine, GenerationAbortedError
from services.living_llm.failures import InvalidFailure, OverloadedFailure
from services.living_llm.formats import PromptFormat, PromptFormatError, WrittenPrompt, choose_format
from services.living_llm.metrics import QUEUE_DEPTH
from services.living_llm.prompt import fit_history, too_long, without_oldest_turn
from services.living_llm.reply_text import ReplyText
from services.living_llm.speech import Delta, Finished, FinishReason, Speech, Started, UpstreamEvent, Usage
from services.living_llm.upstream import Description

# Messages whose length in tokens is remembered: the whole history of a few conversations, so that a turn counts only what is new.
_COUNTED_MESSAGES = 4096


class _Job:
    """One reply in the making: where its events go, and whether anyone still wants it."""

    def __init__(self, speech: Speech) -> None:
        self.speech = speech
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
    """

    name = "embedded"

    def __init__(
        self, file: ModelFile, *, context_tokens: int, threads: int, queue: int, prompt_format: str = "auto"
    ) -> None:
        self._file = file
        self._context_tokens = context_tokens
        self._threads = threads
        self._room = 1 + queue
        self._wanted_format = prompt_format
        self._owner = ThreadPoolExecutor(max_workers=1, thread_name_prefix="llama")
        # Guards which job the abort flag would hit.
        self._switch = threading.Lock()
        self._current: _Job | None = None
        self._unfinished = 0
        self._sha256 = ""
        self._engine: Engine | None = None
        self._format: PromptFormat | None = None
        self._count: Callable[[str], int] | None = None

    async def start(self) -> None:
        """Verify and load the model, on its own thread.

        Raises:
            ModelFileError: the file is missing or not what it should be.
            LlamaError: llama.cpp cannot use it.
            PromptFormatError: the prompt format that is wanted does not suit it.
        """
        await asyncio.get_running_loop().run_in_executor(self._owner, self._load)

    async def stop(self) -> None:
        """Stop what is being computed and free the model."""
        with self._switch:
            if self._engine is not None:
                self._engine.abort.set()
        await asyncio.get_running_loop().run_in_executor(self._owner, self._unload)
        self._owner.shutdown()

    async def describe(self) -> Description:
        """Say which model speaks."""
        window = self._engine.context_tokens if self._engine is not None else 0
        return Description(self.name, "embedded", self._file.name, window, self._sha256)

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
        loop = asyncio.get_running_loop()

        def done(_: Future[None]) -> None:
            loop.call_soon_threadsafe(self._changed, -1)
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

    def _changed(self, by: int) -> None:
        self._unfinished += by
        QUEUE_DEPTH.set(max(0, self._unfinished - 1))

    # What follows runs on the owner thread.

    def _load(self) -> None:
        self._sha256 = self._file.verify()
        engine = Engine(self._file.path, context_tokens=self._context_tokens, threads=self._threads)
        self._engine = engine
        wanted = self._wanted_format if self._wanted_format != "auto" else self._file.prompt_format or "auto"
        self._format = choose_format(wanted, engine.chat_template, engine.vocabulary)

        @functools.lru_cache(maxsize=_COUNTED_MESSAGES)
        def count(text: str) -> int:
            # What cannot fit is not tokenised first.
            at_least = len(text.encode("utf-8")) // engine.vocabulary.longest_piece
            return at_least if at_least > engine.context_tokens else len(engine.vocabulary.tokens(text, control=False))

        self._count = count

    def _unload(self) -> None:
        if self._engine is not None:
            self._engine.close()
            self._engine = None

    def _run(self, job: _Job) -> None:
        assert self._engine is not None
        with self._switch:
            if not job.wanted:
                return
            self._current = job
            self._engine.abort.clear()
        try:
            self._speak(job, self._engine)
        except GenerationAbortedError:
            pass
        except LlamaError as error:
            raise InvalidFailure("llama", "llama.cpp failed") from error
        except PromptFormatError as error:
            raise InvalidFailure("prompt_format", str(error)) from error
        finally:
            with self._switch:
                self._current = None

    def _speak(self, job: _Job, engine: Engine) -> None:
        tokens, prompt, omitted = self._compose(job.speech, engine)
        job.post(Started(self.name, self._file.name, omitted))
        sampling = job.speech.sampling
        cached = engine.evaluate(tokens)
        text = ReplyText((*prompt.stops, *sampling.stop))
        reason, made = FinishReason.LENGTH, 0
        for token in engine.sample(sampling):
            if engine.vocabulary.ends_generation(token):
                reason = FinishReason.STOP
                break
            made += 1
            if delta := text.feed(engine.vocabulary.piece(token)):
                job.post(Delta(delta))
            if text.stopped:
                reason = FinishReason.STOP
                break
            if made >= sampling.max_tokens:
                break
        if rest := text.finish():
            job.post(Delta(rest))
        job.post(Finished(reason, Usage(len(tokens), cached, made)))

    def _compose(self, speech: Speech, engine: Engine) -> tuple[list[int], WrittenPrompt, int]:
        assert self._format is not None
        assert self._count is not None
        vocabulary = engine.vocabulary
        persona_tokens = self._count(self._format.preamble(speech.persona))
        history = fit_history(speech.messages, persona_tokens, self._count, engine.context_tokens)
        while True:
            prompt = self._format.write(speech, history)
            tokens = vocabulary.tokens(prompt.text, control=prompt.control)
            # Exactly one: templates often write it themselves.
            if vocabulary.bos is not None and tokens[:1] != [vocabulary.bos]:
                tokens.insert(0, vocabulary.bos)
            if len(tokens) < engine.context_tokens:
                return tokens, prompt, len(speech.messages) - len(history)
            # The counts left out what the format adds between messages; it was more than was set aside for it.
            history = without_oldest_turn(history)
            if not history:
                raise too_long(engine.context_tokens)
