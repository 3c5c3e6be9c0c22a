"""From messages to commands, with every check. Each refusal names its field as the proto does."""

from __future__ import annotations

from itertools import pairwise
from typing import Final

from limbic.runtime import validate
from limbic.runtime.clock import NS_PER_S
from limbic.runtime.errors import InvalidArgumentError
from limbic.state.v1 import state_pb2
from services.state_engine.causes import Cause, Event
from services.state_engine.commands import (
    AddStimulus,
    CreateSession,
    ForkSession,
    NewStimulus,
    PauseSession,
    RecordTurn,
    ReplaySession,
    ResumeSession,
    RetractStimulus,
    RewindSession,
)
from services.state_engine.journal.facts import Role
from services.state_engine.reading_message import reading_of

MAX_TEXT_CHARS: Final = 65_536
MAX_STIMULI: Final = 64
MAX_TURNS: Final = 1_000
MAX_READINGS: Final = 20_000
MAX_TEMPERAMENT_CHARS: Final = 262_144
MAX_MOMENTS: Final = 10_000
MIN_REPLAY_INTERVAL_S: Final = 1.0
MAX_REPLAY_INTERVAL_S: Final = 365 * 86_400.0
MIN_WATCH_INTERVAL_S: Final = 0.1
MAX_WATCH_INTERVAL_S: Final = 3_600.0
DEFAULT_WATCH_INTERVAL_S: Final = 1.0

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
    stimuli = tuple([_stimulus(f"stimuli[{index}]", one, now_ns) for index, one in enumerate(request.stimuli)])
    if len(stimuli) > 1 and len({stimulus.stimulus_id for stimulus in stimuli}) < len(stimuli):
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


def record_turns(request: state_pb2.RecordTurnsRequest, now_ns: int) -> tuple[str, list[RecordTurn]]:
    """Check a request to record several turns; returns their session and the turns."""
    session_id = validate.identifier("session_id", request.session_id)
    if not 1 <= len(request.turns) <= MAX_TURNS:
        raise InvalidArgumentError("turns", f"must be 1 to {MAX_TURNS:,}; there are {len(request.turns):,}")
    turns = [_one_of_turns(f"turns[{index}]", session_id, one, now_ns) for index, one in enumerate(request.turns)]
    if len({turn.turn_id for turn in turns}) < len(turns):
        raise InvalidArgumentError("turns", "two of them have the same turn_id")
    stimuli = [stimulus.stimulus_id for turn in turns for stimulus in turn.stimuli]
    if len(set(stimuli)) < len(stimuli):
        raise InvalidArgumentError("turns", "two of their stimuli have the same stimulus_id")
    return session_id, turns


def _one_of_turns(field: str, session_id: str, request: state_pb2.RecordTurnRequest, now_ns: int) -> RecordTurn:
    if request.session_id not in ("", session_id):
        raise InvalidArgumentError(f"{field}.session_id", "must be empty or the session of all")
    if not request.HasField("parent_turn_id"):
        raise InvalidArgumentError(f"{field}.parent_turn_id", "is required")
    whole = state_pb2.RecordTurnRequest()
    whole.CopyFrom(request)
    whole.session_id = session_id
    try:
        return record_turn(whole, now_ns)
    except InvalidArgumentError as error:
        raise InvalidArgumentError(f"{field}.{error.field}", error.description) from None


def add_stimulus(request: state_pb2.AddStimulusRequest, now_ns: int) -> AddStimulus:
    """Check a request to add a stimulus."""
    if not request.HasField("stimulus"):
        raise InvalidArgumentError("stimulus", "is required")
    return AddStimulus(
        session_id=validate.identifier("session_id", request.session_id),
        turn_id=optional_identifier("turn_id", request.turn_id),
        stimulus=_stimulus("stimulus", request.stimulus, now_ns),
    )


def retract_stimulus(request: state_pb2.RetractStimulusRequest) -> RetractStimulus:
    """Check a request to take a stimulus back."""
    return RetractStimulus(
        session_id=validate.identifier("session_id", request.session_id),
        stimulus_id=validate.identifier("stimulus_id", request.stimulus_id),
    )


def fork(request: state_pb2.ForkRequest) -> ForkSession:
    """Check a request to fork a session."""
    return ForkSession(
        session_id=validate.identifier("session_id", request.session_id),
        turn_id=optional_identifier("turn_id", request.turn_id),
        new_session_id=validate.identifier_or_new("new_session_id", request.new_session_id, "session"),
    )


def rewind(request: state_pb2.RewindRequest) -> RewindSession:
    """Check a request to move the tip."""
    return RewindSession(
        session_id=validate.identifier("session_id", request.session_id),
        turn_id=optional_identifier("turn_id", request.turn_id) or "",
        rewind_id=validate.identifier_or_new("rewind_id", request.rewind_id, "rewind"),
    )


def pause(request: state_pb2.PauseRequest, now_ns: int) -> PauseSession:
    """Check a request to stop a session's clock."""
    return PauseSession(
        session_id=validate.identifier("session_id", request.session_id),
        pause_id=validate.identifier_or_new("pause_id", request.pause_id, "pause"),
        from_ns=_from_ns(request, now_ns),
    )


def resume(request: state_pb2.ResumeRequest, now_ns: int) -> ResumeSession:
    """Check a request to let a session's clock run again."""
    return ResumeSession(
        session_id=validate.identifier("session_id", request.session_id),
        pause_id=optional_identifier("pause_id", request.pause_id),
        from_ns=_from_ns(request, now_ns),
    )


def replay(request: state_pb2.ReplayRequest, now_ns: int) -> ReplaySession:
    """Check a request to compute a curve anew."""
    if request.temperament and request.temperament_text:
        raise InvalidArgumentError("temperament_text", "cannot be given together with a temperament's name")
    if len(request.readings) > MAX_READINGS:
        raise InvalidArgumentError("readings", f"must be at most {MAX_READINGS:,}; there are {len(request.readings):,}")
    readings = [_stimulus(f"readings[{index}]", one, now_ns) for index, one in enumerate(request.readings)]
    causes = {stimulus.stimulus_id: stimulus.cause for stimulus in readings}
    if len(causes) < len(readings):
        raise InvalidArgumentError("readings", "two of them have the same stimulus_id")
    interval_ns: int | None = None
    if request.HasField("interval"):
        low, high = MIN_REPLAY_INTERVAL_S, MAX_REPLAY_INTERVAL_S
        interval_ns = round(validate.duration_s("interval", request.interval, low, high) * NS_PER_S)
    moments_ns = _moments_ns(request, now_ns)
    text = validate.optional_text("temperament_text", request.temperament_text, MAX_TEMPERAMENT_CHARS)
    return ReplaySession(
        session_id=validate.identifier("session_id", request.session_id),
        turn_id=optional_identifier("turn_id", request.turn_id),
        temperament=optional_identifier("temperament", request.temperament),
        temperament_text=text or None,
        causes=causes,
        interval_ns=interval_ns,
        moments_ns=moments_ns,
    )


def watch_interval_s(request: state_pb2.WatchStateRequest) -> float:
    """Check how often to send a state that is watched."""
    if not request.HasField("interval"):
        return DEFAULT_WATCH_INTERVAL_S
    return validate.duration_s("interval", request.interval, MIN_WATCH_INTERVAL_S, MAX_WATCH_INTERVAL_S)


def _from_ns(request: state_pb2.PauseRequest | state_pb2.ResumeRequest, now_ns: int) -> int | None:
    if not request.HasField("from"):
        return None
    # `from` is a word of Python's own.
    return validate.past_ns("from", getattr(request, "from"), now_ns)


def _moments_ns(request: state_pb2.ReplayRequest, now_ns: int) -> tuple[int, ...]:
    if request.moments and request.HasField("interval"):
        raise InvalidArgumentError("moments", "cannot be given together with an interval")
    if len(request.moments) > MAX_MOMENTS:
        raise InvalidArgumentError("moments", f"must be at most {MAX_MOMENTS:,}; there are {len(request.moments):,}")
    moments = tuple(
        validate.past_ns(f"moments[{index}]", moment, now_ns) for index, moment in enumerate(request.moments)
    )
    if any(earlier >= later for earlier, later in pairwise(moments)):
        raise InvalidArgumentError("moments", "must ascend")
    return moments


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
        return reading_of(f"{field}.reading", message.reading)
    if kind == "event":
        event = message.event
        intensity = event.intensity if event.HasField("intensity") else 1.0
        return Event(
            name=validate.identifier(f"{field}.event.name", event.name),
            intensity=validate.number(f"{field}.event.intensity", intensity, 0.0, 1.0) + 0.0,
        )
    raise InvalidArgumentError(f"{field}.cause", "is required: a reading or an event")
