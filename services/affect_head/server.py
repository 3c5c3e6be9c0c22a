"""The affect head's gRPC service."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import grpc

from limbic.affect.v1 import affect_pb2, affect_pb2_grpc
from limbic.runtime.clock import Clock, SystemClock
from limbic.runtime.deadline import Deadline, current_deadline
from limbic.runtime.errors import InvalidArgumentError, LimbicError
from limbic.runtime.logs import get_logger
from limbic.runtime.settings import AffectSettings
from limbic.runtime.validate import identifier
from services.affect_head import metrics
from services.affect_head.errors import HeadUnavailableError, QueueFullError
from services.affect_head.explain import Word, contribution, sentence_of, without, words_of
from services.affect_head.head import Head, HeadCard, Reading, Utterance
from services.affect_head.loading import ReadyHead, make_ready
from services.affect_head.messages import card_message, contribution_messages, error_message, reading_message
from services.affect_head.pool import ReaderPool
from services.affect_head.requests import refuse_blank, utterance_of
from services.affect_head.stream import as_ready

_log = get_logger(__name__)

STREAM_IN_FLIGHT = 16
"""Utterances of one stream that are worked on at once; more than enough to keep every core busy."""

MAX_EXPLAINED_WORDS = 256
"""Each word costs a reading of its own."""

MAX_EXPLANATIONS = 4
"""Explanations that are made at once; they share what the utterances leave of the workers' time."""


class AffectHeadService(affect_pb2_grpc.AffectHeadServiceServicer):
    """Reads utterances.

    Args:
        settings: the workers and the queue.
        open_head: makes the head; blocks while it loads.
        clock: for the time that utterances wait.
    """

    def __init__(self, settings: AffectSettings, open_head: Callable[[], Head], clock: Clock | None = None) -> None:
        self._settings = settings
        self._open_head = open_head
        self._clock = clock or SystemClock()
        self._head: Head | None = None
        self._card: HeadCard | None = None
        self._pool: ReaderPool | None = None
        self._explanations = 0

    @property
    def full_name(self) -> str:
        """The service's full name."""
        return str(affect_pb2.DESCRIPTOR.services_by_name["AffectHeadService"].full_name)

    def register(self, server: grpc.aio.Server) -> None:
        """Add the handlers to a server."""
        affect_pb2_grpc.add_AffectHeadServiceServicer_to_server(self, server)

    async def start(self) -> None:
        """Load the head and start the workers."""
        # A thread that ends, and not one of asyncio's: OpenMP keeps a team for each thread that has computed, and once there are more
        # of them than cores it stops spinning at its barriers, which doubles the time of every reading with two threads.
        with ThreadPoolExecutor(max_workers=1, thread_name_prefix="affect-load") as thread:
            loading = thread.submit(make_ready, self._open_head, self._settings.workers)
            ready: ReadyHead = await asyncio.wrap_future(loading)
        self._head, self._card = ready.head, ready.head.card
        self._pool = ReaderPool(
            ready.readers,
            queue_limit=self._settings.queue,
            expected_cost_s=ready.ordinary_cost_s,
            clock=self._clock,
        )
        identity = self._card.identity
        _log.info(
            "head loaded",
            head=identity.id,
            quantization=identity.quantization,
            calibration=identity.calibration,
            sha256=self._card.sha256,
            workers=self._settings.workers,
            threads=self._settings.threads,
            reading_ms=round(ready.ordinary_cost_s * 1e3, 2),
        )

    def drain(self) -> None:
        """Nothing to end: a client's stream goes on within the grace."""

    async def stop(self) -> None:
        """Stop the workers, then free the model."""
        if self._pool is not None:
            await asyncio.to_thread(self._pool.close)
            self._pool = None
        if self._head is not None:
            self._head.close()
            self._head = None

    async def Classify(self, request: affect_pb2.ClassifyRequest, context: Any) -> affect_pb2.ClassifyResponse:
        """Read one utterance."""
        reading = await self._read(request.text, request.context, self._call_deadline())
        return affect_pb2.ClassifyResponse(reading=reading)

    async def ClassifyStream(
        self, request_iterator: AsyncIterator[affect_pb2.ClassifyStreamRequest], context: Any
    ) -> AsyncIterator[affect_pb2.ClassifyStreamResponse]:
        """Read utterances as they come."""
        in_flight: set[str] = set()

        async def answer(request: affect_pb2.ClassifyStreamRequest) -> affect_pb2.ClassifyStreamResponse:
            request_id = request.request_id
            try:
                with _unique(in_flight, request_id):
                    # A stream may stay open for hours, so each utterance has a deadline of its own.
                    deadline = Deadline.after(self._settings.default_deadline_s)
                    reading = await self._read(request.text, request.context, deadline)
            except LimbicError as error:
                return affect_pb2.ClassifyStreamResponse(request_id=request_id, error=error_message(error))
            return affect_pb2.ClassifyStreamResponse(request_id=request_id, reading=reading)

        # One stream alone never fills the queue.
        limit = min(STREAM_IN_FLIGHT, self._settings.queue)
        async for response in as_ready(request_iterator, answer, limit=limit):
            yield response

    async def Explain(self, request: affect_pb2.ExplainRequest, context: Any) -> affect_pb2.ExplainResponse:
        """Leave each word out in turn, and say what that changes."""
        pool, card = self._ready()
        utterance = utterance_of(request.text, request.context)
        words = words_of(utterance.text)
        if len(words) > MAX_EXPLAINED_WORDS:
            raise InvalidArgumentError(
                "text", f"has {len(words):,} words; at most {MAX_EXPLAINED_WORDS} can be explained"
            )
        deadline = self._call_deadline()
        with self._explanation_slot():
            whole = refuse_blank(
                await pool.read(dataclasses.replace(utterance, wants_reason=True), deadline, background=True)
            )
            rests = [await pool.read(_left_out(utterance, word), deadline, background=True) for word in words]
        contributions = [contribution(word, whole.axes, rest.axes) for word, rest in zip(words, rests, strict=True)]
        sentence = sentence_of(contributions)
        return affect_pb2.ExplainResponse(
            reading=reading_message(whole, card.identity, reasoning=whole.reasoning or sentence),
            words=contribution_messages(contributions),
            sentence=sentence,
        )

    async def GetModelCard(
        self, request: affect_pb2.GetModelCardRequest, context: Any
    ) -> affect_pb2.GetModelCardResponse:
        """Say which head is being served."""
        _, card = self._ready()
        return card_message(card)

    async def _read(self, text: str, turns: Any, deadline: Deadline) -> affect_pb2.AffectReading:
        pool, card = self._ready()
        reading: Reading = refuse_blank(await pool.read(utterance_of(text, turns), deadline))
        if reading.truncated:
            metrics.TRUNCATED.inc()
        return reading_message(reading, card.identity)

    def _ready(self) -> tuple[ReaderPool, HeadCard]:
        if self._pool is None or self._card is None:
            raise HeadUnavailableError("no head is loaded", retry_after=1.0)
        return self._pool, self._card

    def _call_deadline(self) -> Deadline:
        return current_deadline() or Deadline.after(self._settings.default_deadline_s)

    @contextmanager
    def _explanation_slot(self) -> Iterator[None]:
        if self._explanations >= MAX_EXPLANATIONS:
            metrics.SHED_QUEUE_FULL.inc()
            raise QueueFullError(
                f"{MAX_EXPLANATIONS} explanations are being made already", retry_after=1.0, limit=str(MAX_EXPLANATIONS)
            )
        self._explanations += 1
        try:
            yield
        finally:
            self._explanations -= 1


def _left_out(utterance: Utterance, word: Word) -> Utterance:
    return dataclasses.replace(utterance, text=without(utterance.text, word))


@contextmanager
def _unique(in_flight: set[str], request_id: str) -> Iterator[None]:
    identifier("request_id", request_id)
    if request_id in in_flight:
        raise InvalidArgumentError("request_id", "is that of an utterance that is still being read on this stream")
    in_flight.add(request_id)
    try:
        yield
    finally:
        in_flight.discard(request_id)
