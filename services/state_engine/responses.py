"""From sessions, turns, explanations and curves to messages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from limbic.affect.v1 import affect_pb2
from limbic.runtime.clock import NS_PER_S
from limbic.state.v1 import state_pb2
from services.state_engine.causes import UNKNOWN_HEAD, Event, Reading
from services.state_engine.explaining import Explanation
from services.state_engine.explanation import Shares
from services.state_engine.history import Said
from services.state_engine.journal.facts import Role, StimulusFact
from services.state_engine.replay import Point
from services.state_engine.session import Session
from services.state_engine.state_message import state_message

_ROLE_NUMBERS: Final = {Role.USER: state_pb2.ROLE_USER, Role.ASSISTANT: state_pb2.ROLE_ASSISTANT}


def session_message(session: Session) -> state_pb2.Session:
    """Return a session as a message."""
    fact = session.fact
    return state_pb2.Session(
        session_id=fact.session_id,
        temperament=fact.temperament,
        temperament_digest=fact.temperament_digest,
        created_at=timestamp(fact.created_ns),
        tip_turn_id=session.tip.turn_id,
        keeps_text=fact.keep_text,
        paused=bool(session.pauses.open),
        forked_from_session_id=fact.forked_from.session_id if fact.forked_from else "",
        forked_from_turn_id=fact.forked_from.turn_id if fact.forked_from else "",
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
        abandoned=said.abandoned,
        stimuli=[_stimulus_message(stimulus) for stimulus in said.stimuli],
    )


def explanation(explained: Explanation) -> state_pb2.ExplainResponse:
    """Return an explanation as a message."""
    readout = explained.temperament.readout

    def contribution(shares: Shares, parts: Mapping[str, Shares]) -> state_pb2.Contribution:
        by_axis = list(parts.items())
        return state_pb2.Contribution(
            levels=[
                _share(name, value, [(axis, part.levels[index]) for axis, part in by_axis])
                for index, (name, value) in enumerate(zip(readout.hormones, shares.levels, strict=True))
            ],
            moods=[
                _share(name, value, [(axis, part.moods[index]) for axis, part in by_axis])
                for index, (name, value) in enumerate(zip(readout.moods_named, shares.moods, strict=True))
            ],
        )

    contributions = []
    for one in explained.breakdown.largest:
        message = contribution(one.shares, explained.axes.get(one.stimulus_id, {}))
        message.stimulus_id, message.turn_id = one.stimulus_id, one.turn_id
        message.text = explained.words.get(one.turn_id, "")
        message.occurred_at.CopyFrom(timestamp(one.occurred_ns))
        seconds, rest = divmod(one.half_life_left_s, 1.0)
        message.half_life_left.CopyFrom(Duration(seconds=int(seconds), nanos=int(rest * NS_PER_S)))
        contributions.append(message)
    return state_pb2.ExplainResponse(
        state=state_message(explained.state),
        contributions=contributions,
        remainder=contribution(explained.breakdown.remainder, {}),
    )


def _share(name: str, value: float, parts: Sequence[tuple[str, float]]) -> state_pb2.Share:
    axes = [state_pb2.AxisShare(axis=axis, value=part) for axis, part in parts if part]
    return state_pb2.Share(name=name, value=value, axes=axes)


def replay_point(point: Point) -> state_pb2.ReplayResponse:
    """Return a point of both curves as a message."""
    return state_pb2.ReplayResponse(
        recorded=state_message(point.recorded),
        replayed=state_message(point.replayed),
        cause_turn_id=point.turn_id,
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
