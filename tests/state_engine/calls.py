"""Short forms of the calls that many tests make."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from google.protobuf.timestamp_pb2 import Timestamp

from limbic.state.v1 import state_pb2
from tests.state_engine.parts import Running, reading

S = "s"


def felt(stimulus_id: str, valence: float = -0.8, tension: float = 0.8) -> state_pb2.Stimulus:
    return state_pb2.Stimulus(stimulus_id=stimulus_id, reading=reading(valence=valence, tension=tension))


async def opened(engine: Running, session: str = S, **fields: object) -> state_pb2.CreateSessionResponse:
    return await engine.stub.CreateSession(state_pb2.CreateSessionRequest(session_id=session, **fields))  # type: ignore[arg-type]


async def said(
    engine: Running, turn_id: str, *stimuli: state_pb2.Stimulus, parent: str | None = None, session: str = S
) -> state_pb2.State:
    request = state_pb2.RecordTurnRequest(
        session_id=session, turn_id=turn_id, text=f"words of {turn_id}", stimuli=stimuli
    )
    if parent is not None:
        request.parent_turn_id = parent
    return (await engine.stub.RecordTurn(request)).state


async def added(engine: Running, stimulus: state_pb2.Stimulus, turn_id: str, session: str = S) -> state_pb2.State:
    request = state_pb2.AddStimulusRequest(session_id=session, turn_id=turn_id, stimulus=stimulus)
    return (await engine.stub.AddStimulus(request)).state


async def state_at(
    engine: Running, turn_id: str = "", session: str = S, as_of: Timestamp | None = None
) -> state_pb2.State:
    request = state_pb2.GetStateRequest(session_id=session, turn_id=turn_id, as_of=as_of)
    return (await engine.stub.GetState(request)).state


async def abandoned(engine: Running, session: str = S) -> list[str]:
    listed = await engine.stub.ListTurns(state_pb2.ListTurnsRequest(session_id=session))
    return [turn.turn_id for turn in listed.turns if turn.abandoned]


def pause(session: str = S, pause_id: str = "", since: Timestamp | None = None) -> state_pb2.PauseRequest:
    request = state_pb2.PauseRequest(session_id=session, pause_id=pause_id)
    _set_from(request, since)
    return request


def resume(session: str = S, pause_id: str = "", since: Timestamp | None = None) -> state_pb2.ResumeRequest:
    request = state_pb2.ResumeRequest(session_id=session, pause_id=pause_id)
    _set_from(request, since)
    return request


def _set_from(request: state_pb2.PauseRequest | state_pb2.ResumeRequest, since: Timestamp | None) -> None:
    if since is not None:
        getattr(request, "from").CopyFrom(since)  # `from` is a word of Python's own


def turn(turn_id: str, *, parent: str | None = None, session: str = S, **fields: object) -> state_pb2.RecordTurnRequest:
    request = state_pb2.RecordTurnRequest(session_id=session, turn_id=turn_id, text=f"words of {turn_id}", **fields)  # type: ignore[arg-type]
    if parent is not None:
        request.parent_turn_id = parent
    return request


def facts_in(journal: Path) -> int:
    """Return how many turns, stimuli and sessions are in a journal's file."""
    with closing(sqlite3.connect(f"file:{journal}?mode=ro", uri=True)) as connection:
        counts = [
            connection.execute(f"SELECT COUNT(*) FROM {name}").fetchone()[0]
            for name in ("turns", "stimuli", "sessions")
        ]
    return int(sum(counts))
