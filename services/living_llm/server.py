"""The gRPC face of the living LLM."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator, Sequence
from typing import Any

import grpc

from limbic.llm.v1 import llm_pb2, llm_pb2_grpc
from limbic.runtime.clock import Clock, SystemClock
from limbic.runtime.deadline import Deadline, current_deadline
from limbic.runtime.logs import get_logger
from limbic.runtime.settings import LlmSettings
from services.living_llm import expression, requests
from services.living_llm.assembly import make_voices
from services.living_llm.expression_table import ExpressionTable, load_table
from services.living_llm.failures import Failure, to_error
from services.living_llm.messages import joined, response
from services.living_llm.metrics import CANCELLED, FIRST_DELTA_SECONDS, TOKENS
from services.living_llm.pump import Pump
from services.living_llm.speech import Delta, Speech, Usage
from services.living_llm.upstream import Upstream
from services.living_llm.voices import Done

_log = get_logger(__name__)

_FULL_NAME = llm_pb2.DESCRIPTOR.services_by_name["LivingLlmService"].full_name


class LivingLlmService(llm_pb2_grpc.LivingLlmServiceServicer):
    """The service.

    Args:
        settings: the section `llm`.
        upstreams: what speaks, in the order in which they are asked.
        clock: tells the time.
    """

    full_name: str = _FULL_NAME

    def __init__(self, settings: LlmSettings, upstreams: Sequence[Upstream], *, clock: Clock | None = None) -> None:
        self._upstreams = tuple(upstreams)
        self._clock = clock or SystemClock()
        self._voices = make_voices(upstreams, settings, self._clock)
        self._default_deadline_s = settings.default_deadline_s
        self._table: ExpressionTable | None = None

    def register(self, server: grpc.aio.Server) -> None:
        """Add the handlers to a server."""
        llm_pb2_grpc.add_LivingLlmServiceServicer_to_server(self, server)

    async def start(self) -> None:
        """Load the expression table and what speaks."""
        self._table = await asyncio.to_thread(load_table)
        for upstream in self._upstreams:
            await upstream.start()
        _log.info("upstreams", upstreams=[upstream.name for upstream in self._upstreams])

    def drain(self) -> None:
        """Nothing to end: replies come to their own end."""

    async def stop(self) -> None:
        """Let go of what speaks."""
        for upstream in self._upstreams:
            await upstream.stop()

    async def Generate(
        self, request: llm_pb2.GenerateRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> AsyncIterator[llm_pb2.GenerateResponse]:
        """Generate one reply: started, delta…, done."""
        speech = self._speech(request)
        deadline = current_deadline() or Deadline.after(self._default_deadline_s)
        began = self._clock.monotonic()
        pump = Pump(self._voices.speak(speech, deadline))

        # gRPC tells the handler that its caller has gone by cancelling it, which a handler that is not waiting learns late.
        context.add_done_callback(lambda _: pump.cancel())  # type: ignore[arg-type]  # the stubs ask for a class of their own
        stage = "waiting"
        try:
            async for batch in pump.batches():
                for event in joined(batch):
                    if isinstance(event, Delta) and stage == "waiting":
                        stage = "generation"
                        FIRST_DELTA_SECONDS.observe(self._clock.monotonic() - began)
                    elif isinstance(event, Done):
                        _count_tokens(event.finished.usage)
                    yield response(event, speech.sampling)
        except Failure as failure:
            raise to_error(failure) from failure
        except (asyncio.CancelledError, GeneratorExit):
            CANCELLED.labels(stage).inc()
            raise
        finally:
            await pump.close()

    async def CheckGenerate(
        self, request: llm_pb2.CheckGenerateRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> llm_pb2.CheckGenerateResponse:
        """Refuse what Generate would refuse."""
        try:
            await self._voices.check(self._speech(request.request))
        except Failure as failure:
            raise to_error(failure) from failure
        return llm_pb2.CheckGenerateResponse()

    async def GetModel(
        self, request: llm_pb2.GetModelRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> llm_pb2.GetModelResponse:
        """Say which models speak."""
        upstreams = [
            llm_pb2.Upstream(
                name=described.name,
                kind=described.kind,
                model=described.model,
                context_tokens=described.context_tokens,
                circuit=circuit,
                sha256=described.sha256,
            )
            for described, circuit in await self._voices.describe()
        ]
        return llm_pb2.GetModelResponse(upstreams=upstreams)

    def _speech(self, request: llm_pb2.GenerateRequest) -> Speech:
        assert self._table is not None
        session_id, persona = requests.read_session_id(request), requests.read_persona(request)
        messages = requests.read_messages(request)
        felt = requests.read_expression(request.expression, self._table)
        wishes = requests.read_wishes(request.sampling)
        for name in expression.wordless_moods(self._table, felt):
            _warn_wordless(name)
        return Speech(
            session_id,
            persona,
            messages,
            expression.state_words(self._table, felt),
            expression.sampling(self._table, felt, wishes),
            expression.steering(self._table, felt),
        )


def _count_tokens(usage: Usage) -> None:
    TOKENS.labels("prompt").inc(usage.prompt_tokens)
    TOKENS.labels("cached").inc(usage.cached_tokens)
    TOKENS.labels("completion").inc(usage.completion_tokens)


@functools.lru_cache(maxsize=64)
def _warn_wordless(mood: str) -> None:
    """Say once that a temperament has a mood for which expression.toml has no words."""
    _log.warning("expression.toml has no words for a mood, which therefore steers nothing", mood=mood)
