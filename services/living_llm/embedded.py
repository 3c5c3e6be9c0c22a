"""The upstream inside this process: a GGUF model, one owner thread, a bounded queue in front of it.

A llama.cpp context must never be used by two threads. So one thread owns model and context for the life of the service, and requests
reach it one after another. A caller who goes away takes its request out of the queue, or sets the flag that llama.cpp polls inside a
computation: the thread is free again within one node of the graph. Reading ahead (resident.py) gives way in the same manner.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path

from limbic.runtime.models import ModelFile
from services.living_llm.adapters import Adapter
from services.living_llm.engine import GenerationAbortedError
from services.living_llm.failures import OverloadedFailure
from services.living_llm.metrics import QUEUE_DEPTH
from services.living_llm.resident import ResidentModel
from services.living_llm.speech import Message, Role, Speech, UpstreamEvent
from services.living_llm.upstream import Description


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
        name: what the upstream is called in traces, metrics and logs.
        context_tokens: the window that is wanted.
        threads: threads of a computation.
        queue: replies that may wait, besides the one that is being made.
        prompt_format: auto, transcript or chat-template.
        persona: who speaks in most conversations; read before the first one.
        session_state_bytes: what may be kept of conversations that do not speak now.
        adapters: LoRA adapters by persona; the first one that fits counts.
        steering_dir: control vectors of this model, or None.
    """

    def __init__(
        self,
        file: ModelFile,
        *,
        name: str = "embedded",
        context_tokens: int,
        threads: int,
        queue: int,
        prompt_format: str = "auto",
        persona: str = "",
        session_state_bytes: int = 0,
        adapters: Sequence[Adapter] = (),
        steering_dir: Path | None = None,
    ) -> None:
        self.name = name
        self._file = file
        self._load_model = partial(
            ResidentModel,
            file,
            name=name,
            context_tokens=context_tokens,
            threads=threads,
            prompt_format=prompt_format,
            session_state_bytes=session_state_bytes,
            adapters=tuple(adapters),
            steering_dir=steering_dir,
        )
        self._room = 1 + queue
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
        self._model: ResidentModel | None = None

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
            if self._model is not None:
                self._model.engine.abort.set()
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(None, self._measurer.shutdown)
        await loop.run_in_executor(self._owner, self._unload)
        self._owner.shutdown()

    async def describe(self) -> Description:
        """Say which model speaks."""
        if self._model is None:
            return Description(self.name, "embedded", self._file.name, 0, "")
        window = self._model.engine.context_tokens
        return Description(self.name, "embedded", self._file.name, window, self._model.sha256)

    async def check(self, speech: Speech) -> None:
        """Measure the prompt, also while a reply is being made.

        Raises:
            PromptTooLongError: persona and last message do not fit the window.
            InvalidFailure: the prompt cannot be written.
        """
        assert self._model is not None
        await asyncio.get_running_loop().run_in_executor(self._measurer, self._model.measure, speech)

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
            if self._ahead is not None and self._model is not None and not _follows(speech, self._ahead):
                self._model.engine.abort.set()
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
                if self._current is job and self._model is not None:
                    self._model.engine.abort.set()

    def _ended(self, job: _Job) -> None:
        self._changed(-1)
        if job.said and not self._unfinished and not self._stopping:
            messages = (*job.speech.messages, Message(Role.ASSISTANT, job.said))
            self._owner.submit(self._read_ahead, replace(job.speech, messages=messages))

    def _changed(self, by: int) -> None:
        self._unfinished += by
        QUEUE_DEPTH.set(max(0, self._unfinished - 1))

    # What follows runs on the owner thread.

    def _load(self) -> None:
        self._model = self._load_model()
        self._model.warm_up(self._persona)

    def _unload(self) -> None:
        if self._model is not None:
            self._model.close()
            self._model = None

    def _read_ahead(self, speech: Speech) -> None:
        with self._switch:
            if self._unfinished or self._stopping or self._model is None:
                return
            self._ahead = speech
            self._model.engine.abort.clear()
        try:
            self._model.read_ahead(speech)
        finally:
            with self._switch:
                self._ahead = None

    def _run(self, job: _Job) -> None:
        assert self._model is not None
        with self._switch:
            if not job.wanted:
                return
            self._current = job
            self._model.engine.abort.clear()
        try:
            job.said = self._model.speak(job.speech, job.post)
        except GenerationAbortedError:
            pass
        finally:
            with self._switch:
                self._current = None


def _follows(speech: Speech, earlier: Speech) -> bool:
    known = len(earlier.messages)
    return speech.persona == earlier.persona and speech.messages[:known] == earlier.messages
