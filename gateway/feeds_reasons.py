"""Asks the head why it read as it did: after the turn, one question at a time, and first to be left out when there is much to do."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from gateway.metrics import EXPLANATIONS
from gateway.ports import BackendFailure, ReadingSeen
from limbic.affect.v1 import affect_pb2

WAITING = 8
"""Questions that may wait. Reasons are for people who look on; nobody reads more than a few behind."""
DEADLINE_S = 20.0
"""A generative head writes its reason in some seconds."""

_NO_ROOM = frozenset({"RESOURCE_EXHAUSTED", "DEADLINE_EXCEEDED"})

Explain = Callable[[affect_pb2.ExplainRequest, float], Awaitable[affect_pb2.ExplainResponse]]


class Reasons:
    """Finds a reason for readings, or none.

    Args:
        explain: asks the head, within a timeout in seconds. Raises BackendFailure.
        deliver: takes each reading and its reason, which is empty where there is none. Called once for each reading.
    """

    def __init__(self, explain: Explain, deliver: Callable[[ReadingSeen, str], None]) -> None:
        self._explain = explain
        self._deliver = deliver
        self._one_at_a_time = asyncio.Semaphore(1)
        self._asking: set[asyncio.Task[str]] = set()

    def ask(self, seen: ReadingSeen) -> None:
        """Find out why. Returns at once."""
        if seen.reading is None or seen.reading.reasoning:
            self._deliver(seen, seen.reading.reasoning if seen.reading is not None else "")
        elif len(self._asking) >= WAITING:
            EXPLANATIONS.labels("shed").inc()
            self._deliver(seen, "")
        else:
            task = asyncio.create_task(self._ask(seen), name="reason")
            self._asking.add(task)
            # A callback and no `finally`: a task that is cancelled before it has begun never comes to one.
            task.add_done_callback(lambda asked: self._asked(seen, asked))

    async def stop(self) -> None:
        """Give up what is not answered; those readings are delivered without a reason."""
        for task in tuple(self._asking):
            task.cancel()
        await asyncio.gather(*self._asking, return_exceptions=True)

    async def _ask(self, seen: ReadingSeen) -> str:
        request = affect_pb2.ExplainRequest(text=seen.text, context=seen.context)
        try:
            async with self._one_at_a_time:
                sentence = (await self._explain(request, DEADLINE_S)).sentence
        except BackendFailure as failure:
            # A head without room has better things to do, and a head without reasons says so.
            EXPLANATIONS.labels("shed" if failure.code in _NO_ROOM else "failed").inc()
            return ""
        EXPLANATIONS.labels("told").inc()
        return sentence

    def _asked(self, seen: ReadingSeen, task: asyncio.Task[str]) -> None:
        self._asking.discard(task)
        self._deliver(seen, "" if task.cancelled() else task.result())
