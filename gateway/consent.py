"""Asks the living LLM, before anything of a turn is written, whether it would take it."""

from __future__ import annotations

import asyncio

from gateway import trace as stages
from gateway.errors import reply_error
from gateway.events import TurnInput
from gateway.ports import BackendFailure, LlmPort
from gateway.trace import Trace
from limbic.llm.v1 import llm_pb2
from limbic.runtime.errors import LimbicError
from limbic.state.v1 import state_pb2

DEADLINE_S = 0.25
"""A living LLM that needs longer for this is hung or overloaded, and says so itself when it is asked to speak."""


class Consent:
    """Whether a turn can be answered at all, as far as that depends on what the caller sent.

    Styles and the model's window are the living LLM's own, so it is the one to ask. It answers in about a millisecond, while the head
    reads the words. Where it cannot be asked the turn goes on: what it would refuse, it refuses later.
    """

    def __init__(self, turn: TurnInput, llm: LlmPort, trace: Trace) -> None:
        self._turn = turn
        self._llm = llm
        self._trace = trace
        self._asking: asyncio.Task[LimbicError | None] | None = None

    def ask(self) -> None:
        """Begin to ask."""
        self._asking = asyncio.create_task(self._ask(), name="check")

    def withdraw(self) -> None:
        """Nobody needs the answer any more."""
        if self._asking is not None:
            self._asking.cancel()

    async def given(self) -> None:
        """Return when the turn may be written down. May be awaited by several.

        Raises:
            InvalidArgumentError: the living LLM will not take the turn as it is.
        """
        refusal = await asyncio.shield(self._asking) if self._asking is not None else None
        if refusal is not None:
            raise refusal

    async def _ask(self) -> LimbicError | None:
        turn = self._turn
        stage = self._trace.begin("check", DEADLINE_S)
        request = llm_pb2.GenerateRequest(
            persona=turn.persona,
            messages=[llm_pb2.Message(role=state_pb2.ROLE_USER, text=turn.text)],
            expression=llm_pb2.Expression(style=turn.style),
            sampling=turn.sampling,
        )
        try:
            await self._llm.check(request, DEADLINE_S)
        except BackendFailure as failure:
            stage.end(stages.TIMEOUT if failure.code == "DEADLINE_EXCEEDED" else stages.ERROR, str(failure))
            return reply_error(failure) if failure.code == "INVALID_ARGUMENT" else None
        stage.end()
        return None
