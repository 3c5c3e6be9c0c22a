"""What a turn needs from the world, as protocols, and how a part of the world says that it failed.

The messages that pass through are the contracts' own; nothing here knows how they travel.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from gateway.events import AffectStatus, StageRecord, TraceRecord
from limbic.affect.v1 import affect_pb2
from limbic.llm.v1 import llm_pb2
from limbic.runtime.clock import Clock
from limbic.state.v1 import state_pb2

Fact = state_pb2.CreateSessionRequest | state_pb2.RecordTurnRequest | state_pb2.AddStimulusRequest
"""Something that happened, in the form in which the state engine is told. Each is idempotent by its id."""

# DATA_LOSS: a damaged journal, until a copy of it is put back. What waits must still be there then.
_TRANSIENT = frozenset(
    {
        "UNAVAILABLE",
        "DEADLINE_EXCEEDED",
        "RESOURCE_EXHAUSTED",
        "ABORTED",
        "CANCELLED",
        "INTERNAL",
        "UNKNOWN",
        "DATA_LOSS",
    }
)


class BackendFailure(Exception):
    """A call to another part failed.

    Attributes:
        code: name of the canonical status code.
        reason: the part's own stable reason; empty if the answer did not come from the part itself.
        retry_after: seconds after which a retry can help, or None.
        metadata: the variables of the part's message.
    """

    def __init__(
        self, code: str, reason: str = "", *, retry_after: float | None = None, metadata: dict[str, str] | None = None
    ) -> None:
        super().__init__(f"{code} {reason}".rstrip())
        self.code = code
        self.reason = reason
        self.retry_after = retry_after
        self.metadata = metadata or {}

    @property
    def may_pass(self) -> bool:
        """True if the same call can succeed later. A part's own fault counts, because a restart may mend it."""
        return self.code in _TRANSIENT and self.reason != "LIMIT_EXCEEDED"

    @property
    def label(self) -> str:
        """A word for metrics, from a small fixed set."""
        return self.code.lower()


@dataclass(frozen=True, slots=True)
class Recorded:
    """The state engine's acknowledgement of a fact: it is durable. `state` is the state that now holds."""

    state: state_pb2.State
    duplicate: bool


class StatePort(Protocol):
    """The state engine. Every method raises BackendFailure."""

    async def get_state(self, request: state_pb2.GetStateRequest, timeout_s: float) -> state_pb2.State:
        """Read a state."""
        ...

    async def list_turns(self, request: state_pb2.ListTurnsRequest, timeout_s: float) -> state_pb2.ListTurnsResponse:
        """Read a page of turns, oldest first."""
        ...

    async def record(self, fact: Fact, timeout_s: float) -> Recorded:
        """Tell a fact."""
        ...

    async def record_turns(self, request: state_pb2.RecordTurnsRequest, timeout_s: float) -> state_pb2.State:
        """Tell several turns in one step; returns the state at the last."""
        ...


class AffectPort(Protocol):
    """The affect head."""

    async def classify(self, request: affect_pb2.ClassifyRequest, timeout_s: float) -> affect_pb2.AffectReading:
        """Read an utterance. Raises BackendFailure."""
        ...


class LlmPort(Protocol):
    """The living LLM."""

    async def check(self, request: llm_pb2.GenerateRequest, timeout_s: float) -> None:
        """Raise what `generate` would refuse the request with, without speaking. Raises BackendFailure."""
        ...

    def generate(
        self, request: llm_pb2.GenerateRequest, timeout_s: float
    ) -> AsyncGenerator[llm_pb2.GenerateResponse, None]:
        """Generate a reply. Raises BackendFailure. Closing the generator stops the model."""
        ...


class SpoolPort(Protocol):
    """Facts that wait on disk for the state engine."""

    def holds(self, session_id: str) -> bool:
        """Tell whether a fact of this session waits."""
        ...

    async def append(self, fact: Fact) -> None:
        """Keep a fact. When this returns it is durable. Raises SpoolRefusedError."""
        ...


class DirectoryPort(Protocol):
    """In which session which words were said."""

    async def find(self, digests: Sequence[bytes]) -> str | None:
        """Return the session that shares most of these pairs of messages, if it shares enough."""
        ...

    async def note(self, session_id: str, digests: Sequence[bytes]) -> None:
        """Remember that these pairs were said in a session."""
        ...


class SpoolRefusedError(Exception):
    """The spool cannot keep a fact: it is full, or the disk cannot be written. The fact is lost unless the caller keeps it."""


class Timer(Clock, Protocol):
    """A clock that can be waited on."""

    async def wait(self, future: asyncio.Future[Any], until: float) -> bool:
        """Wait until the future is done, but no longer than until this moment of the monotonic clock.

        Returns whether it is done. Neither cancels it nor raises what it raised.
        """
        ...


@dataclass(frozen=True, slots=True)
class ReadingSeen:
    """What became of the reading of one utterance. Durations in seconds.

    Attributes:
        latency_s: from the turn's beginning to the answer.
        lateness_s: by how much it missed the window; 0 if it did not.
        context: what the head was given of the turns just before, oldest first.
    """

    session_id: str
    turn_id: str
    occurred_at_ns: int
    status: AffectStatus
    reading: affect_pb2.AffectReading | None
    latency_s: float
    lateness_s: float
    text: str = field(repr=False)
    context: tuple[str, ...] = field(default=(), repr=False)


@dataclass(frozen=True, slots=True)
class TurnSummary:
    """A turn that has ended, in whichever way. Durations in seconds.

    Attributes:
        outcome: ok, degraded, cut, failed, refused or cancelled.
        reason: the error's stable reason; empty if there was none.
        first_delta_s: from the turn's beginning to the first delta, if one came.
        overhead_s: the part of it that was neither the wait for the reading nor the model's own time.
        state: the last state that was seen in this turn, if any.
    """

    trace: TraceRecord
    outcome: str
    reason: str
    total_s: float
    first_delta_s: float | None
    overhead_s: float | None
    state: state_pb2.State | None


class Observer(Protocol):
    """Sees what turns do. Its methods return at once and never raise."""

    def turn_began(self) -> None:
        """Note that a turn was let in."""
        ...

    def turn_shed(self) -> None:
        """Note that a turn was not let in, because as many are running as may."""
        ...

    def turn_ended(self, summary: TurnSummary) -> None:
        """Note that a turn that was let in has ended."""
        ...

    def stage_ended(self, trace_id: str, stage: StageRecord) -> None:
        """Note that a stage has ended, perhaps after its turn."""
        ...

    def reading_seen(self, seen: ReadingSeen) -> None:
        """Note what became of a reading, perhaps after its turn."""
        ...

    def part_degraded(self, part: str, label: str) -> None:
        """Note that a turn goes on without a part. `label` is from a small fixed set."""
        ...


@dataclass(frozen=True, slots=True)
class Ports:
    """Everything that a turn touches."""

    state: StatePort
    affect: AffectPort
    llm: LlmPort
    spool: SpoolPort
    timer: Timer
    observer: Observer


@dataclass(frozen=True, slots=True)
class TurnPolicy:
    """How turns behave. Durations in seconds.

    Attributes:
        affect_deadline_s: when a reading that has not come is given up, from the turn's beginning.
        state_deadline_s: for each call to the state engine.
        answer_reserve_s: kept back from each budget, for answering.
        history_messages: earlier messages that are given to the model at most.
    """

    affect_deadline_s: float
    state_deadline_s: float
    answer_reserve_s: float
    history_messages: int
