"""From messages to commands, with every check, and from states to messages. The only module that knows both sides."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from limbic.affect.v1 import affect_pb2
from limbic.runtime import validate
from limbic.runtime.clock import NS_PER_S
from limbic.runtime.errors import InvalidArgumentError
from limbic.state.v1 import state_pb2
from services.state_engine.causes import (
    NO_EMOTIONS,
    UNKNOWN_HEAD,
    AxisUncertainty,
    Cause,
    Emotions,
    Event,
    HeadIdentity,
    Reading,
)
from services.state_engine.commands import AddStimulus, CreateSession, NewStimulus, RecordTurn
from services.state_engine.history import Said
from services.state_engine.journal.facts import Role, StimulusFact
from services.state_engine.readout import Band
from services.state_engine.session import Session, State

MAX_TEXT_CHARS: Final = 65_536
MAX_STIMULI: Final = 64
MAX_EMOTIONS: Final = 64
MAX_REASONING_CHARS: Final = 8_000
MAX_NAME_CHARS: Final = 128
MAX_LATENCY_S: Final = 3_600.0
MAX_UNCERTAINTY: Final = 10.0

_ROLES: Final = {
    state_pb2.ROLE_UNSPECIFIED: Role.USER,
    state_pb2.ROLE_USER: Role.USER,
    state_pb2.ROLE_ASSISTANT: Role.ASSISTANT,
}
_ROLE_NUMBERS: Final = {Role.USER: state_pb2.ROLE_USER, Role.ASSISTANT: state_pb2.ROLE_ASSISTANT}
_BANDS: Final = {
    Band.CRASHING: state_pb2.BAND_CRASHING,
    Band.FADING: state_pb2.BAND_FADING,
    Band.STEADY: state_pb2.BAND_STEADY,
    Band.RISING: state_pb2.BAND_RISING,
    Band.SURGING: state_pb2.BAND_SURGING,
}


def create_session(request: state_pb2.CreateSessionRequest) -> CreateSession:
    """Check a request to open a session."""
    return CreateSession(
        session_id=validate.identifier_or_new("session_id", request.session_id, "session"),
        temperament=validate.identifier("temperament", request.temperament) if request.temperament else None,
        keep_text=request.keep_text if request.HasField("keep_text") else None,
    )


def record_turn(request: state_pb2.RecordTurnRequest, now_ns: int) -> RecordTurn:
    """Check a request to record a turn."""
    if len(request.stimuli) > MAX_STIMULI:
        raise InvalidArgumentError("stimuli", f"must be at most {MAX_STIMULI}; there are {len(request.stimuli):,}")
    role = _ROLES.get(request.role)
    if role is None:
        raise InvalidArgumentError("role", "must be ROLE_USER or ROLE_ASSISTANT")
    parent: str | None = None
    if request.HasField("parent_turn_id"):
        parent = optional_identifier("parent_turn_id", request.parent_turn_id) or ""
    stimuli = tuple(_stimulus(f"stimuli[{index}]", one, now_ns) for index, one in enumerate(request.stimuli))
    if len({stimulus.stimulus_id for stimulus in stimuli}) < len(stimuli):
        raise InvalidArgumentError("stimuli", "two of them have the same stimulus_id")
    return RecordTurn(
        session_id=validate.identifier("session_id", request.session_id),
        turn_id=validate.identifier("turn_id", request.turn_id),
        parent_turn_id=parent,
        role=role,
        occurred_ns=validate.past_ns("occurred_at", request.occurred_at, now_ns)
        if request.HasField("occurred_at")
        else None,
        text=validate.optional_text("text", request.text, MAX_TEXT_CHARS),
        cut=request.cut,
        stimuli=stimuli,
    )


def add_stimulus(request: state_pb2.AddStimulusRequest, now_ns: int) -> AddStimulus:
    """Check a request to add a stimulus."""
    if not request.HasField("stimulus"):
        raise InvalidArgumentError("stimulus", "is required")
    return AddStimulus(
        session_id=validate.identifier("session_id", request.session_id),
        turn_id=optional_identifier("turn_id", request.turn_id),
        stimulus=_stimulus("stimulus", request.stimulus, now_ns),
    )


def optional_identifier(field: str, value: str) -> str | None:
    """Check an id that may be missing."""
    return validate.identifier(field, value) if value else None


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


def _stimulus(field: str, message: state_pb2.Stimulus, now_ns: int) -> NewStimulus:
    occurred_ns: int | None = None
    if message.HasField("occurred_at"):
        occurred_ns = validate.past_ns(f"{field}.occurred_at", message.occurred_at, now_ns)
    return NewStimulus(
        field=field,
        stimulus_id=validate.identifier(f"{field}.stimulus_id", message.stimulus_id),
        occurred_ns=occurred_ns,
        cause=_cause(field, message),
    )


def _cause(field: str, message: state_pb2.Stimulus) -> Cause:
    kind = message.WhichOneof("cause")
    if kind == "reading":
        return _reading(f"{field}.reading", message.reading)
    if kind == "event":
        event = message.event
        intensity = event.intensity if event.HasField("intensity") else 1.0
        return Event(
            name=validate.identifier(f"{field}.event.name", event.name),
            intensity=validate.number(f"{field}.event.intensity", intensity, 0.0, 1.0) + 0.0,
        )
    raise InvalidArgumentError(f"{field}.cause", "is required: a reading or an event")


def _reading(field: str, message: affect_pb2.AffectReading) -> Reading:
    uncertainty: AxisUncertainty | None = None
    if message.HasField("uncertainty"):
        given = message.uncertainty
        uncertainty = AxisUncertainty(
            *(
                validate.number(f"{field}.uncertainty.{axis}", value, 0.0, 10.0)
                for axis, value in (
                    ("valence", given.valence),
                    ("intimacy", given.intimacy),
                    ("tension", given.tension),
                )
            )
        )
    latency_ns: int | None = None
    if message.HasField("latency"):
        validate.duration_s(f"{field}.latency", message.latency, 0.0, MAX_LATENCY_S)
        latency_ns = message.latency.seconds * NS_PER_S + message.latency.nanos
    return Reading(
        # A zero loses its sign here, because a database loses it too, and a replay must start from the same bits.
        valence=validate.number(f"{field}.valence", message.valence, -1.0, 1.0) + 0.0,
        intimacy=validate.number(f"{field}.intimacy", message.intimacy, -1.0, 1.0) + 0.0,
        tension=validate.number(f"{field}.tension", message.tension, -1.0, 1.0) + 0.0,
        confidence=validate.number(f"{field}.confidence", message.confidence, 0.0, 1.0) + 0.0,
        uncertainty=uncertainty,
        emotions=_emotions(f"{field}.emotions", message),
        head=_head(f"{field}.head", message.head),
        truncated=message.truncated,
        reasoning=validate.optional_text(f"{field}.reasoning", message.reasoning, MAX_REASONING_CHARS),
        latency_ns=latency_ns,
    )


def _emotions(field: str, message: affect_pb2.AffectReading) -> Emotions:
    given = [(one.label, one.probability, one.active) for one in message.emotions]
    if not given:
        return NO_EMOTIONS
    if len(given) > MAX_EMOTIONS:
        raise InvalidArgumentError(field, f"must be at most {MAX_EMOTIONS}; there are {len(given):,}")
    emotions = Emotions(*zip(*given, strict=True))
    _check_labels(field, emotions.labels)
    for index, probability in enumerate(emotions.probabilities):
        if not 0.0 <= probability <= 1.0:
            validate.number(f"{field}[{index}].probability", probability, 0.0, 1.0)
    return emotions


@lru_cache(maxsize=64)
def _check_labels(field: str, labels: tuple[str, ...]) -> None:
    # A head's labels are the same in each of its readings, so that they are looked at once.
    for index, label in enumerate(labels):
        validate.identifier(f"{field}[{index}].label", label)
    if len(set(labels)) < len(labels):
        raise InvalidArgumentError(field, "two of them have the same label")


@lru_cache(maxsize=64)
def _checked_head(field: str, head_id: str, quantization: str, calibration: str) -> HeadIdentity:
    return HeadIdentity(
        validate.optional_text(f"{field}.id", head_id, MAX_NAME_CHARS),
        validate.optional_text(f"{field}.quantization", quantization, MAX_NAME_CHARS),
        validate.optional_text(f"{field}.calibration", calibration, MAX_NAME_CHARS),
    )


def _head(field: str, message: affect_pb2.HeadIdentity) -> HeadIdentity:
    return _checked_head(field, message.id, message.quantization, message.calibration)


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
