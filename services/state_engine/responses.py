"""From states, sessions and turns to messages."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from limbic.affect.v1 import affect_pb2
from limbic.runtime.clock import NS_PER_S
from limbic.state.v1 import state_pb2
from services.state_engine.causes import UNKNOWN_HEAD, Event, Reading
from services.state_engine.history import Said
from services.state_engine.journal.facts import Role, StimulusFact
from services.state_engine.readout import Band
from services.state_engine.session import Session, State

_ROLE_NUMBERS: Final = {Role.USER: state_pb2.ROLE_USER, Role.ASSISTANT: state_pb2.ROLE_ASSISTANT}
_BANDS: Final = {
    Band.CRASHING: state_pb2.BAND_CRASHING,
    Band.FADING: state_pb2.BAND_FADING,
    Band.STEADY: state_pb2.BAND_STEADY,
    Band.RISING: state_pb2.BAND_RISING,
    Band.SURGING: state_pb2.BAND_SURGING,
}


def state_message(state: State) -> state_pb2.State:
    """Return a state as a message."""
    message = state_pb2.State()
    message.CopyFrom(
        _frame(
            tuple([(level.name, level.baseline) for level in state.levels]), tuple([mood.name for mood in state.moods])
        )
    )
    message.session_id = state.session_id
    message.turn_id = state.turn_id
    message.as_of.CopyFrom(timestamp(state.as_of_ns))
    message.revision = state.revision
    for level, target in zip(state.levels, message.levels, strict=True):
        target.value = level.value
        target.band = _BANDS[level.band]
    for mood, into in zip(state.moods, message.moods, strict=True):
        into.intensity = mood.intensity
    return message


@lru_cache(maxsize=64)
def _frame(levels: tuple[tuple[str, float], ...], moods: tuple[str, ...]) -> state_pb2.State:
    # What the states of one temperament have in common: to copy it is cheaper than to build nine messages for each answer.
    return state_pb2.State(
        levels=[state_pb2.Level(name=name, baseline=baseline) for name, baseline in levels],
        moods=[state_pb2.Mood(name=name) for name in moods],
    )


def session_message(session: Session) -> state_pb2.Session:
    """Return a session as a message."""
    fact = session.fact
    return state_pb2.Session(
        session_id=fact.session_id,
        temperament=fact.temperament,
        temperament_digest=fact.temperament_digest,
        created_at=timestamp(fact.created_ns),
        tip_turn_id=session.tip,
        keeps_text=fact.keep_text,
    )


def turn_message(said: Said) -> state_pb2.Turn:
    """Return a turn and its stimuli as a message."""
    turn = said.turn
    return state_pb2.Turn(
        turn_id=turn.turn_id,
        parent_turn_id=turn.parent_turn_id,
        role=_ROLE_NUMBERS[turn.role],
        occurred_at=timestamp(turn.occurred_ns),
        recorded_at=timestamp(turn.recorded_ns),
        text=turn.text,
        cut=turn.cut,
        stimuli=[_stimulus_message(stimulus) for stimulus in said.stimuli],
    )


def timestamp(moment_ns: int) -> Timestamp:
    """Return a moment in nanoseconds since the epoch as a message."""
    seconds, nanos = divmod(moment_ns, NS_PER_S)
    return Timestamp(seconds=seconds, nanos=nanos)


def _stimulus_message(fact: StimulusFact) -> state_pb2.Stimulus:
    occurred_at = timestamp(fact.occurred_ns)
    cause = fact.cause
    if isinstance(cause, Event):
        event = state_pb2.Event(name=cause.name, intensity=cause.intensity)
        return state_pb2.Stimulus(stimulus_id=fact.stimulus_id, occurred_at=occurred_at, event=event)
    return state_pb2.Stimulus(stimulus_id=fact.stimulus_id, occurred_at=occurred_at, reading=_reading_message(cause))


def _reading_message(reading: Reading) -> affect_pb2.AffectReading:
    message = affect_pb2.AffectReading(
        valence=reading.valence,
        intimacy=reading.intimacy,
        tension=reading.tension,
        confidence=reading.confidence,
        emotions=[
            affect_pb2.Emotion(label=label, probability=probability, active=active)
            for label, probability, active in zip(*reading.emotions, strict=True)
        ],
        reasoning=reading.reasoning,
        truncated=reading.truncated,
    )
    head = reading.head
    if head != UNKNOWN_HEAD:
        message.head.CopyFrom(
            affect_pb2.HeadIdentity(id=head.head_id, quantization=head.quantization, calibration=head.calibration)
        )
    if reading.uncertainty is not None:
        message.uncertainty.CopyFrom(affect_pb2.AxisUncertainty(**reading.uncertainty._asdict()))
    if reading.latency_ns is not None:
        seconds, nanos = divmod(reading.latency_ns, NS_PER_S)
        message.latency.CopyFrom(Duration(seconds=seconds, nanos=nanos))
    return message
