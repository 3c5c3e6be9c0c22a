"""What goes into a turn and what comes out of it, independent of how it is asked for and how it is sent."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias

from gateway.content import Said
from gateway.transcripts import Utterance
from limbic.affect.v1 import affect_pb2
from limbic.gateway.v1 import gateway_pb2
from limbic.llm.v1 import llm_pb2
from limbic.state.v1 import state_pb2

AffectStatus: TypeAlias = gateway_pb2.AffectStatus.ValueType
StageStatus: TypeAlias = gateway_pb2.StageStatus.ValueType


@dataclass(frozen=True, slots=True)
class Dialogue:
    """A whole conversation, as a client sends it that knows nothing of turns.

    Attributes:
        history: what was said before, oldest first.
        words: what the person says now; None if the character is only to go on, or is asked for something else than a reply.
        feels: whether the reply is coloured by what the character feels.
        caller: tells apart callers whose conversations begin alike; empty if nothing does.
        is_named: the client named the session, so that it need not be found by what was said.
    """

    history: tuple[Said, ...] = field(repr=False)
    words: Said | None = field(repr=False)
    feels: bool
    caller: str
    is_named: bool


@dataclass(frozen=True, slots=True)
class Placed:
    """Where a turn of such a conversation stands.

    Attributes:
        history: what the model is given before the words: the client's own history, which is what its user sees.
        before: what the state engine has to be told first, because it does not know it; in order.
        said_at_ns: when the words were said, if that was before.
    """

    history: tuple[Utterance, ...] = field(repr=False)
    before: tuple[state_pb2.RecordTurnRequest, ...] = field(repr=False)
    said_at_ns: int | None


@dataclass(frozen=True, slots=True)
class TurnInput:
    """A turn that was asked for, checked already.

    Attributes:
        session_is_new: the id was made for this turn, so there is nothing to ask about it.
        turn_id: empty for an aside, in which nobody says anything to the character.
        parent_turn_id: the turn that it follows; None for the session's tip, empty for the root.
        text: what the person says; in an aside, what the model is asked for.
        said_at_ns: when it was said, since the epoch, if the caller says so; None for now.
        affect_window_s: how long the turn waits for its own reading, from its beginning.
        attempt_id: differs each time, also for a repeated turn id. Letters and digits.
        trace_id: W3C trace id, 32 hexadecimal digits.
        deadline_at: moment of the monotonic clock by which the turn must have ended.
        dialogue: the conversation in which the turn has still to be placed; None where the caller said where it stands.
        placed: where it stands in it. Such a turn's id follows from what was said, and so does its reply's.
    """

    session_id: str
    session_is_new: bool
    turn_id: str
    parent_turn_id: str | None
    text: str = field(repr=False)
    persona: str = field(repr=False)
    affect_window_s: float
    sampling: llm_pb2.Sampling
    style: str
    temperament: str
    attempt_id: str
    trace_id: str
    deadline_at: float
    dialogue: Dialogue | None = None
    placed: Placed | None = None
    said_at_ns: int | None = None

    @property
    def is_aside(self) -> bool:
        """Whether the model is only to go on, or asked for something else than a reply: nothing of it is felt or recorded."""
        return not self.turn_id


@dataclass(frozen=True, slots=True)
class StateKnown:
    """The state before the words were felt. Degraded: the last known one, or the baseline, for the reason given."""

    turn_id: str
    state: state_pb2.State
    degraded: bool
    reason: str


@dataclass(frozen=True, slots=True)
class AffectKnown:
    """What became of the reading when the turn went on. `state` is there if the reading changed it."""

    status: AffectStatus
    reading: affect_pb2.AffectReading | None
    state: state_pb2.State | None
    reason: str


@dataclass(frozen=True, slots=True)
class DeltaText:
    """More of the reply. Whole characters, not empty."""

    text: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class LateAffect:
    """What became of a reading after the window had closed. `lateness_s`: by how much it missed it."""

    status: AffectStatus
    reading: affect_pb2.AffectReading | None
    state: state_pb2.State | None
    reason: str
    lateness_s: float


@dataclass(frozen=True, slots=True)
class StageRecord:
    """One stage of a turn. Durations in seconds, `start_s` from the turn's beginning; a deadline of 0 means none."""

    name: str
    start_s: float
    duration_s: float
    status: StageStatus
    deadline_s: float
    detail: str


@dataclass(frozen=True, slots=True)
class TraceRecord:
    """What a turn did, stage by stage in the order in which they began."""

    trace_id: str
    turn_id: str
    session_id: str
    stages: tuple[StageRecord, ...]
    degraded_reasons: tuple[str, ...]
    upstream: str
    model: str
    attempts: tuple[llm_pb2.Attempt, ...]
    omitted_messages: int


@dataclass(frozen=True, slots=True)
class TurnDone:
    """The end of a turn that was answered. `reply_turn_id` is empty if the model said nothing."""

    trace: TraceRecord
    finish_reason: llm_pb2.FinishReason.ValueType
    usage: llm_pb2.Usage
    reply_turn_id: str


TurnEvent = StateKnown | AffectKnown | DeltaText | LateAffect | TurnDone
