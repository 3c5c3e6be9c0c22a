"""Asks the affect head how words land. A head that fails is an answer, too."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from gateway import trace as stages
from gateway.events import AffectStatus, TurnInput
from gateway.opening import Memory
from gateway.ports import BackendFailure, Ports, TurnPolicy
from gateway.trace import Trace
from gateway.transcripts import Utterance
from limbic.affect.v1 import affect_pb2
from limbic.gateway.v1 import gateway_pb2

CONTEXT_TURNS = 2
_CONTEXT_CHARS = 2_000
"""Of each earlier turn, its end: several times what the head's window holds, and below the head's own limit."""

_TEXT_CHARS = 8_000
"""The head's own limit. It reads the end of long words; front ends send pasted texts that are longer."""

_FAILURES: dict[str, tuple[AffectStatus, str]] = {
    "UNAVAILABLE": (gateway_pb2.AFFECT_STATUS_UNAVAILABLE, "the affect head could not be reached"),
    "RESOURCE_EXHAUSTED": (gateway_pb2.AFFECT_STATUS_SHED, "the affect head has no room"),
    "DEADLINE_EXCEEDED": (gateway_pb2.AFFECT_STATUS_FAILED, "the affect head did not answer before its deadline"),
}


@dataclass(frozen=True, slots=True)
class Answer:
    """What the head said, or why it said nothing. `at`: when, on the monotonic clock."""

    status: AffectStatus
    reading: affect_pb2.AffectReading | None
    reason: str
    at: float


def context_of(earlier: Iterable[str]) -> list[str]:
    """Return what the head is given of the turns just before, oldest first."""
    return [text[-_CONTEXT_CHARS:] for text in earlier if text.strip()]


class HeadCall:
    """One question to the head.

    Args:
        window_end: moment of the monotonic clock at which the turn goes on without the answer.

    Attributes:
        window_closed: set by the turn when it goes on.
        context: what the head was given of the turns just before.
    """

    def __init__(
        self, turn: TurnInput, ports: Ports, policy: TurnPolicy, memory: Memory, trace: Trace, window_end: float
    ) -> None:
        self._turn = turn
        self._ports = ports
        self._policy = policy
        self._memory = memory
        self._trace = trace
        self._window_end = window_end
        self.window_closed = False
        self.context: tuple[str, ...] = ()

    async def ask(self, known: Utterance | None) -> Answer:
        """Return the head's answer. `known`: the turn itself, if its words were said before."""
        stage = self._trace.begin("affect", self._turn.affect_window_s)
        self.context = tuple(self._context(known))
        text = self._turn.text
        words = text if len(text) <= _TEXT_CHARS else text.rstrip()[-_TEXT_CHARS:]
        request = affect_pb2.ClassifyRequest(text=words, context=self.context)
        try:
            reading = await self._ports.affect.classify(request, self._policy.affect_deadline_s)
        except BackendFailure as failure:
            status, reason = _FAILURES.get(
                failure.code, (gateway_pb2.AFFECT_STATUS_FAILED, f"the affect head failed ({failure.label})")
            )
            stage.end(stages.TIMEOUT if failure.code == "DEADLINE_EXCEEDED" else stages.ERROR, str(failure))
            self._trace.degrade("affect", failure.label, reason)
            return Answer(status, None, reason, self._ports.timer.monotonic())
        at = self._ports.timer.monotonic()
        if self.window_closed:
            stage.end(stages.TIMEOUT, f"missed the window by {max(0.0, at - self._window_end):.3f} s")
        else:
            stage.end(stages.OK)
        return Answer(gateway_pb2.AFFECT_STATUS_IN_WINDOW, reading, "", at)

    def _context(self, known: Utterance | None) -> list[str]:
        """Return the turns just before, if they are in memory: the head is asked before the journal has answered."""
        transcripts, turn = self._memory.transcripts, self._turn
        if turn.placed is not None:
            return context_of(said.text for said in turn.placed.history[-CONTEXT_TURNS:])
        parent_turn_id = turn.parent_turn_id
        if parent_turn_id is None and known is not None:
            parent_turn_id = known.parent_turn_id
        elif parent_turn_id is None and (last := transcripts.last(turn.session_id)) is not None:
            parent_turn_id = last.turn_id
        path = None if parent_turn_id is None else transcripts.path(turn.session_id, parent_turn_id, CONTEXT_TURNS)
        return context_of(said.text for said in path or ())
