"""The state engine's calls."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

import grpc

from limbic.client import messages
from limbic.client.aio.calls import Lines, answer, answer_to_stream, stream
from limbic.client.aio.connection import Client
from limbic.client.messages import Moment
from limbic.state.v1 import state_pb2, state_pb2_grpc


class StateEngineClient(Client):
    """The calls of `limbic.state.v1.StateEngineService`. One for each event loop. Each raises `CallError` where it fails.

    Turns: "" is the root where a parent is asked for, and the tip elsewhere. Ids that are left empty are chosen by the engine.

    Args:
        target: HOST:PORT or unix:PATH.
        credentials: for an engine that asks for a certificate (limbic.runtime.tls).
        deadline_s: seconds that a call may take, unless it is told otherwise. Calls that may go over a whole session have a minute.
    """

    def __init__(
        self,
        target: str = messages.STATE_ENGINE,
        *,
        credentials: grpc.ChannelCredentials | None = None,
        deadline_s: float = messages.CALL_DEADLINE_S,
    ) -> None:
        super().__init__(target, credentials, deadline_s)
        self._stub = state_pb2_grpc.StateEngineServiceStub(self._channel)

    async def create_session(
        self,
        session_id: str = "",
        *,
        temperament: str = "",
        keep_text: bool | None = None,
        deadline_s: float | None = None,
    ) -> state_pb2.CreateSessionResponse:
        """Open a session, or find the one that is there. What is left open follows the engine's settings."""
        request = messages.create_session_request(session_id, temperament, keep_text)
        return await answer(self._stub.CreateSession, request, self._within(deadline_s))

    async def get_state(
        self,
        session_id: str,
        *,
        turn_id: str = "",
        as_of: Moment | None = None,
        deadline_s: float | None = None,
    ) -> state_pb2.State:
        """Read the state at a turn and a moment, by default at the tip and now."""
        request = state_pb2.GetStateRequest(session_id=session_id, turn_id=turn_id, as_of=messages.timestamp(as_of))
        return (await answer(self._stub.GetState, request, self._within(deadline_s))).state

    async def record_turn(
        self,
        session_id: str,
        turn_id: str,
        text: str,
        *,
        parent_turn_id: str | None = None,
        role: state_pb2.Role.ValueType = state_pb2.ROLE_USER,
        occurred_at: Moment | None = None,
        stimuli: Iterable[state_pb2.Stimulus] = (),
        cut: bool = False,
        deadline_s: float | None = None,
    ) -> state_pb2.RecordTurnResponse:
        """Record that something was said, with what it made felt if that is known. Without a parent it follows the tip."""
        request = messages.record_turn_request(
            session_id, turn_id, text, parent_turn_id, role, occurred_at, stimuli, cut
        )
        return await answer(self._stub.RecordTurn, request, self._within(deadline_s))

    async def record_turns(
        self,
        session_id: str,
        turns: Iterable[state_pb2.RecordTurnRequest],
        *,
        deadline_s: float | None = None,
    ) -> state_pb2.RecordTurnsResponse:
        """Record several turns in one step, each behind its parent: all of them or, where one cannot be recorded, none."""
        request = state_pb2.RecordTurnsRequest(session_id=session_id, turns=turns)
        return await answer(self._stub.RecordTurns, request, self._within(deadline_s))

    async def add_stimulus(
        self,
        session_id: str,
        stimulus: state_pb2.Stimulus,
        *,
        turn_id: str = "",
        deadline_s: float | None = None,
    ) -> state_pb2.AddStimulusResponse:
        """Add something felt to a turn, however late: `reading(...)` or `event(...)` makes it."""
        request = state_pb2.AddStimulusRequest(session_id=session_id, turn_id=turn_id, stimulus=stimulus)
        return await answer(self._stub.AddStimulus, request, self._within(deadline_s))

    async def retract_stimulus(
        self, session_id: str, stimulus_id: str, *, deadline_s: float | None = None
    ) -> state_pb2.RetractStimulusResponse:
        """Take something felt back, for good: every state is then as if it had never happened."""
        request = state_pb2.RetractStimulusRequest(session_id=session_id, stimulus_id=stimulus_id)
        return await answer(self._stub.RetractStimulus, request, self._within(deadline_s))

    async def explain(
        self,
        session_id: str,
        *,
        turn_id: str = "",
        as_of: Moment | None = None,
        limit: int = 0,
        deadline_s: float | None = None,
    ) -> state_pb2.ExplainResponse:
        """Say what each utterance still contributes to a state, largest first, at most `limit` apart; 0 for 20."""
        request = state_pb2.ExplainRequest(
            session_id=session_id, turn_id=turn_id, as_of=messages.timestamp(as_of), limit=limit
        )
        return await answer(self._stub.Explain, request, self._within(deadline_s))

    async def fork(
        self,
        session_id: str,
        *,
        turn_id: str = "",
        new_session_id: str = "",
        deadline_s: float | None = None,
    ) -> state_pb2.ForkResponse:
        """Make a new session that begins with another one's path to a turn."""
        request = state_pb2.ForkRequest(session_id=session_id, turn_id=turn_id, new_session_id=new_session_id)
        return await answer(self._stub.Fork, request, self._within(deadline_s, messages.LONG_DEADLINE_S))

    async def rewind(
        self, session_id: str, turn_id: str, *, rewind_id: str = "", deadline_s: float | None = None
    ) -> state_pb2.RewindResponse:
        """Move a session's tip to another of its turns; "" for the root."""
        request = state_pb2.RewindRequest(session_id=session_id, turn_id=turn_id, rewind_id=rewind_id)
        return await answer(self._stub.Rewind, request, self._within(deadline_s))

    async def pause(
        self,
        session_id: str,
        *,
        pause_id: str = "",
        since: Moment | None = None,
        deadline_s: float | None = None,
    ) -> state_pb2.PauseResponse:
        """Stop a session's own clock, from now on or since a moment."""
        request = messages.pause_request(session_id, pause_id, since)
        return await answer(self._stub.Pause, request, self._within(deadline_s))

    async def resume(
        self,
        session_id: str,
        *,
        pause_id: str = "",
        since: Moment | None = None,
        deadline_s: float | None = None,
    ) -> state_pb2.ResumeResponse:
        """Let a session's own clock run again; without a pause's id every open pause ends."""
        request = messages.resume_request(session_id, pause_id, since)
        return await answer(self._stub.Resume, request, self._within(deadline_s))

    @asynccontextmanager
    async def replay(
        self,
        session_id: str,
        *,
        turn_id: str = "",
        temperament: str = "",
        temperament_text: str = "",
        readings: Iterable[state_pb2.Stimulus] = (),
        interval_s: float | None = None,
        moments: Iterable[Moment] = (),
        deadline_s: float | None = None,
    ) -> AsyncIterator[AsyncIterator[state_pb2.ReplayResponse]]:
        """Compute a curve anew from the journal, for the length of a block.

        Each point is as it was recorded, and as it would have been under another temperament (by name, or as its TOML) or with other
        readings. Points stand at facts and at an interval between them, or at the moments given.
        """
        request = state_pb2.ReplayRequest(
            session_id=session_id,
            turn_id=turn_id,
            temperament=temperament,
            temperament_text=temperament_text,
            readings=readings,
            interval=messages.duration(interval_s),
            moments=[moment for one in moments if (moment := messages.timestamp(one)) is not None],
        )
        within = self._within(deadline_s, messages.LONG_DEADLINE_S)
        async with stream(self._stub.Replay, request, messages.itself, within) as points:
            yield points

    async def list_turns(
        self, session_id: str, *, path_to_turn_id: str = "", deadline_s: float | None = None
    ) -> list[state_pb2.Turn]:
        """List a session's turns, oldest first, or those from the root to a turn (`tip`: to the tip). The deadline is for each page."""
        pages = []
        request = state_pb2.ListTurnsRequest(
            session_id=session_id, path_to_turn_id=path_to_turn_id, page_size=messages.PAGE
        )
        while True:
            page = await answer(self._stub.ListTurns, request, self._within(deadline_s))
            pages.append(page.turns)
            if not page.next_page_token:
                return messages.in_order(pages)
            request.page_token = page.next_page_token

    @asynccontextmanager
    async def watch_state(
        self,
        session_id: str,
        *,
        interval_s: float | None = None,
        deadline_s: float = messages.WATCH_DEADLINE_S,
    ) -> AsyncIterator[AsyncIterator[state_pb2.WatchStateResponse]]:
        """Watch a session for the length of a block: its state at each fact, and at an interval of 0.1 s to 1 h between; None for 1 s.

        Whoever reads slowly gets the latest and not what lay between.
        """
        request = state_pb2.WatchStateRequest(session_id=session_id, interval=messages.duration(interval_s))
        async with stream(self._stub.WatchState, request, messages.itself, self._within(deadline_s)) as states:
            yield states

    @asynccontextmanager
    async def export_session(
        self, session_id: str, *, deadline_s: float | None = None
    ) -> AsyncIterator[AsyncIterator[str]]:
        """Export a session for the length of a block: a line of JSON for each fact, without the line's end."""
        request = state_pb2.ExportSessionRequest(session_id=session_id)
        within = self._within(deadline_s, messages.LONG_DEADLINE_S)
        async with stream(self._stub.ExportSession, request, messages.line_of, within) as lines:
            yield lines

    async def import_session(
        self, lines: Lines, *, session_id: str = "", deadline_s: float | None = None
    ) -> state_pb2.ImportSessionResponse:
        """Make a session from the lines of an export, under another id if one is given: all of it, or nothing.

        What reading the lines raises comes out as it is.
        """

        def request_of(number: int, line: str) -> state_pb2.ImportSessionRequest:
            first = session_id if number == 0 else ""
            return state_pb2.ImportSessionRequest(json_line=line.removesuffix("\n"), session_id=first)

        within = self._within(deadline_s, messages.LONG_DEADLINE_S)
        return await answer_to_stream(self._stub.ImportSession, lines, request_of, within)

    async def delete_session(self, session_id: str, *, deadline_s: float | None = None) -> int:
        """Delete a session for good, and return how many facts it had; 0 if there was none."""
        request = state_pb2.DeleteSessionRequest(session_id=session_id)
        within = self._within(deadline_s, messages.LONG_DEADLINE_S)
        return (await answer(self._stub.DeleteSession, request, within)).deleted_facts
