"""Requests from Python values, and what comes back where that needs a word: shared by the clients with an event loop and without."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import TypeVar

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from limbic.affect.v1 import affect_pb2
from limbic.gateway.v1 import gateway_pb2
from limbic.state.v1 import state_pb2

_ResponseT = TypeVar("_ResponseT")

GATEWAY = "127.0.0.1:50051"
STATE_ENGINE = "127.0.0.1:50052"

TURN_DEADLINE_S = 120.0
CALL_DEADLINE_S = 5.0
LONG_DEADLINE_S = 60.0
"""Of calls that may go over a whole session: Fork, Replay, ExportSession, ImportSession, DeleteSession."""
WATCH_DEADLINE_S = 86_400.0
"""Of streams that have no end of their own."""

PAGE = 1_000
"""Turns that one call lists at most."""

Moment = datetime | Timestamp
"""A point in time: an aware datetime, or the contracts' own."""

TurnEvent = gateway_pb2.StateUpdate | gateway_pb2.AffectUpdate | gateway_pb2.Delta | gateway_pb2.Done
"""What a turn sends, by its type: the state before the words, what they made felt (also late: its status says so), more of the reply, the
end with the trace."""


def event_of(response: gateway_pb2.TurnResponse) -> TurnEvent | None:
    """Return what a response of a turn holds; None for something that this version does not know."""
    match response.WhichOneof("event"):
        case "state":
            return response.state
        case "affect":
            return response.affect
        case "late_affect":
            return response.late_affect
        case "delta":
            return response.delta
        case "done":
            return response.done
        case _:
            return None


def bearer(key: str) -> tuple[tuple[str, str], ...]:
    """Return the metadata that brings a key; empty without one."""
    return (("authorization", f"Bearer {key}"),) if key else ()


def reading(stimulus_id: str, read: affect_pb2.AffectReading, occurred_at: Moment | None = None) -> state_pb2.Stimulus:
    """Return how an utterance landed as a stimulus; without a time it belongs to the moment of its turn's words."""
    return state_pb2.Stimulus(stimulus_id=stimulus_id, reading=read, occurred_at=timestamp(occurred_at))


def event(
    name: str, stimulus_id: str, *, intensity: float = 1.0, occurred_at: Moment | None = None
) -> state_pb2.Stimulus:
    """Return something that the temperament knows by name as a stimulus; without a time it happens when it is recorded."""
    happened = state_pb2.Event(name=name, intensity=intensity)
    return state_pb2.Stimulus(stimulus_id=stimulus_id, event=happened, occurred_at=timestamp(occurred_at))


def turn_request(
    text: str,
    session_id: str = "",
    turn_id: str = "",
    parent_turn_id: str | None = None,
    persona: str = "",
    options: gateway_pb2.TurnOptions | None = None,
    occurred_at: Moment | None = None,
) -> gateway_pb2.TurnRequest:
    """Build a turn's request; arguments as in `TurnRequest`, `parent_turn_id=None` standing for the session's tip."""
    request = gateway_pb2.TurnRequest(
        session_id=session_id,
        turn_id=turn_id,
        text=text,
        persona=persona,
        options=options,
        occurred_at=timestamp(occurred_at),
    )
    if parent_turn_id is not None:
        request.parent_turn_id = parent_turn_id
    return request


def record_turn_request(
    session_id: str,
    turn_id: str,
    text: str,
    parent_turn_id: str | None,
    role: state_pb2.Role.ValueType,
    occurred_at: Moment | None,
    stimuli: Iterable[state_pb2.Stimulus],
    cut: bool,
) -> state_pb2.RecordTurnRequest:
    """Build the request to record a turn; `parent_turn_id=None` stands for the session's tip."""
    request = state_pb2.RecordTurnRequest(
        session_id=session_id,
        turn_id=turn_id,
        text=text,
        role=role,
        occurred_at=timestamp(occurred_at),
        stimuli=stimuli,
        cut=cut,
    )
    if parent_turn_id is not None:
        request.parent_turn_id = parent_turn_id
    return request


def create_session_request(session_id: str, temperament: str, keep_text: bool | None) -> state_pb2.CreateSessionRequest:
    """Build the request to open a session; `keep_text=None` stands for the engine's default."""
    request = state_pb2.CreateSessionRequest(session_id=session_id, temperament=temperament)
    if keep_text is not None:
        request.keep_text = keep_text
    return request


def pause_request(session_id: str, pause_id: str, since: Moment | None) -> state_pb2.PauseRequest:
    """Build the request to stop a session's clock."""
    # `from` is a word of Python's own.
    return state_pb2.PauseRequest(session_id=session_id, pause_id=pause_id, **{"from": timestamp(since)})


def resume_request(session_id: str, pause_id: str, since: Moment | None) -> state_pb2.ResumeRequest:
    """Build the request to let a session's clock run again."""
    return state_pb2.ResumeRequest(session_id=session_id, pause_id=pause_id, **{"from": timestamp(since)})


def timestamp(moment: Moment | None) -> Timestamp | None:
    """Return a point in time as the contracts have it.

    Raises:
        ValueError: a datetime without a time zone, which says no point in time.
    """
    if not isinstance(moment, datetime):
        return moment
    if moment.tzinfo is None:
        raise ValueError("a datetime needs a time zone: datetime.now(UTC), or datetime(..., tzinfo=...)")
    found = Timestamp()
    found.FromDatetime(moment)
    return found


def duration(seconds: float | None) -> Duration | None:
    """Return a span in seconds as the contracts have it."""
    if seconds is None:
        return None
    found = Duration()
    found.FromNanoseconds(round(seconds * 1e9))
    return found


def in_order(pages: Iterable[Iterable[state_pb2.Turn]]) -> list[state_pb2.Turn]:
    """Return the turns of pages, of which the latest comes first, oldest first."""
    return [turn for page in reversed([*pages]) for turn in page]


def itself(response: _ResponseT) -> _ResponseT:
    """Return a response of a stream that is what its reader wants."""
    return response


def snapshot_of(response: gateway_pb2.WatchTelemetryResponse) -> gateway_pb2.TelemetrySnapshot:
    """Return the snapshot of a response."""
    return response.snapshot


def line_of(response: state_pb2.ExportSessionResponse) -> str:
    """Return the line of a response."""
    return response.json_line
