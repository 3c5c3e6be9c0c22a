"""From messages to commands, with every check. Each refusal names its field as the proto does."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from limbic.affect.v1 import affect_pb2
from limbic.runtime import validate
from limbic.runtime.clock import NS_PER_S
from limbic.runtime.errors import InvalidArgumentError
from limbic.state.v1 import state_pb2
from services.state_engine.causes import (
    NO_EMOTIONS,
    AxisUncertainty,
    Cause,
    Emotions,
    Event,
    HeadIdentity,
    Reading,
)
from services.state_engine.commands import AddStimulus, CreateSession, NewStimulus, RecordTurn
from services.state_engine.journal.facts import Role

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
