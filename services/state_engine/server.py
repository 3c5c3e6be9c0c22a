"""The state engine behind gRPC. Methods that are not here answer UNIMPLEMENTED."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc

from limbic.runtime import validate
from limbic.runtime.clock import Clock
from limbic.runtime.drain import Drain
from limbic.runtime.errors import InvalidArgumentError
from limbic.runtime.settings import StateSettings
from limbic.state.v1 import state_pb2, state_pb2_grpc
from services.state_engine import requests, responses
from services.state_engine.engine import Engine, EngineOptions
from services.state_engine.journal import postgres_server, sqlite_file
from services.state_engine.journal.port import Journal
from services.state_engine.journal.postgres import PostgresJournal
from services.state_engine.journal.sqlite import SqliteJournal
from services.state_engine.journal.sqlite_file import Connect, path_of
from services.state_engine.library import TemperamentLibrary
from services.state_engine.retention import Retention
from services.state_engine.session import Session
from services.state_engine.state_message import state_message

MAX_PAGE = 1_000
DEFAULT_PAGE = 100
MAX_CONTRIBUTIONS = 1_000
MAX_LEFT = 1_000

Context = grpc.aio.ServicerContext[Any, Any]


class StateEngineService(state_pb2_grpc.StateEngineServiceServicer):
    """Answers the calls of `limbic.state.v1.StateEngineService`.

    Args:
        engine: the use cases.
        journal: opened when the service starts, closed when it stops.
        clock: the present.
        retention: deletes old sessions while the service runs; None where all are kept.
    """

    full_name = "limbic.state.v1.StateEngineService"

    def __init__(self, engine: Engine, journal: Journal, clock: Clock, retention: Retention | None = None) -> None:
        self._engine = engine
        self._retention = retention
        self._sweeping: asyncio.Task[None] | None = None
        self._journal = journal
        self._clock = clock
        self._drain = Drain()

    def register(self, server: grpc.aio.Server) -> None:
        """Add the handlers to a server."""
        state_pb2_grpc.add_StateEngineServiceServicer_to_server(self, server)

    async def start(self) -> None:
        """Open the journal."""
        await self._journal.start()
        if self._retention is not None:
            self._sweeping = asyncio.create_task(self._retention.run(), name="retention")

    def drain(self) -> None:
        """End the watches."""
        self._drain.begin()

    async def stop(self) -> None:
        """Write what waits and close the journal."""
        if self._sweeping is not None:
            self._sweeping.cancel()
            await asyncio.gather(self._sweeping, return_exceptions=True)
        await self._engine.stop()
        await self._journal.stop()

    async def CreateSession(
        self, request: state_pb2.CreateSessionRequest, context: Context
    ) -> state_pb2.CreateSessionResponse:
        """Open a session."""
        session, existed = await self._engine.opening.create(requests.create_session(request))
        return state_pb2.CreateSessionResponse(
            session=responses.session_message(session), state=await self._tip_message(session), existed=existed
        )

    async def GetState(self, request: state_pb2.GetStateRequest, context: Context) -> state_pb2.GetStateResponse:
        """Read a state."""
        state = await self._engine.state(*self._place(request))
        return state_pb2.GetStateResponse(state=state_message(state))

    async def RecordTurn(self, request: state_pb2.RecordTurnRequest, context: Context) -> state_pb2.RecordTurnResponse:
        """Record something said."""
        state, duplicate = await self._engine.recording.turn(requests.record_turn(request, self._clock.now_ns()))
        return state_pb2.RecordTurnResponse(state=state_message(state), duplicate=duplicate)

    async def RecordTurns(
        self, request: state_pb2.RecordTurnsRequest, context: Context
    ) -> state_pb2.RecordTurnsResponse:
        """Record several turns in one step."""
        session_id, turns = requests.record_turns(request, self._clock.now_ns())
        state, recorded = await self._engine.recording.turns(session_id, turns)
        return state_pb2.RecordTurnsResponse(state=state_message(state), recorded=recorded)

    async def AddStimulus(
        self, request: state_pb2.AddStimulusRequest, context: Context
    ) -> state_pb2.AddStimulusResponse:
        """Add a stimulus to a turn."""
        state, duplicate = await self._engine.recording.stimulus(requests.add_stimulus(request, self._clock.now_ns()))
        return state_pb2.AddStimulusResponse(state=state_message(state), duplicate=duplicate)

    async def RetractStimulus(
        self, request: state_pb2.RetractStimulusRequest, context: Context
    ) -> state_pb2.RetractStimulusResponse:
        """Take a stimulus back."""
        state, duplicate = await self._engine.recording.retraction(requests.retract_stimulus(request))
        return state_pb2.RetractStimulusResponse(state=state_message(state), duplicate=duplicate)

    async def Fork(self, request: state_pb2.ForkRequest, context: Context) -> state_pb2.ForkResponse:
        """Make a session from another one's path."""
        session, existed = await self._engine.opening.fork(requests.fork(request))
        return state_pb2.ForkResponse(
            session=responses.session_message(session), state=await self._tip_message(session), existed=existed
        )

    async def Rewind(self, request: state_pb2.RewindRequest, context: Context) -> state_pb2.RewindResponse:
        """Move a session's tip."""
        state, left = await self._engine.recording.rewind(requests.rewind(request))
        return state_pb2.RewindResponse(state=state_message(state), abandoned_turn_ids=left[-MAX_LEFT:])

    async def Pause(self, request: state_pb2.PauseRequest, context: Context) -> state_pb2.PauseResponse:
        """Stop a session's clock."""
        command = requests.pause(request, self._clock.now_ns())
        state = await self._engine.recording.pause(command)
        return state_pb2.PauseResponse(state=state_message(state), pause_id=command.pause_id)

    async def Resume(self, request: state_pb2.ResumeRequest, context: Context) -> state_pb2.ResumeResponse:
        """Let a session's clock run again."""
        state = await self._engine.recording.resumption(requests.resume(request, self._clock.now_ns()))
        return state_pb2.ResumeResponse(state=state_message(state))

    async def Explain(self, request: state_pb2.ExplainRequest, context: Context) -> state_pb2.ExplainResponse:
        """Say what a state is made of."""
        explained = await self._engine.explain(
            *self._place(request), validate.count("limit", request.limit, MAX_CONTRIBUTIONS, default=20)
        )
        return responses.explanation(explained)

    async def Replay(
        self, request: state_pb2.ReplayRequest, context: Context
    ) -> AsyncIterator[state_pb2.ReplayResponse]:
        """Compute a curve anew."""
        async for points in self._engine.replay(requests.replay(request, self._clock.now_ns())):
            for point in points:
                yield responses.replay_point(point)

    async def WatchState(
        self, request: state_pb2.WatchStateRequest, context: Context
    ) -> AsyncIterator[state_pb2.WatchStateResponse]:
        """Send the state whenever something is recorded, and at an interval."""
        session_id = validate.identifier("session_id", request.session_id)
        interval_s = requests.watch_interval_s(request)
        with self._engine.watches.of(session_id) as watch:
            turn_id = ""
            while True:
                session = await self._engine.session(session_id)
                # Whoever reads slowly holds up this line, and what is recorded meanwhile is one message after it.
                yield state_pb2.WatchStateResponse(state=await self._tip_message(session), cause_turn_id=turn_id)
                turn_id = await self._drain.unless_begun(watch.wait(interval_s))

    async def ExportSession(
        self, request: state_pb2.ExportSessionRequest, context: Context
    ) -> AsyncIterator[state_pb2.ExportSessionResponse]:
        """Send every fact of a session."""
        async for lines in self._engine.export(validate.identifier("session_id", request.session_id)):
            for line in lines:
                yield state_pb2.ExportSessionResponse(json_line=line)

    async def ImportSession(
        self, requests_: AsyncIterator[state_pb2.ImportSessionRequest], context: Context
    ) -> state_pb2.ImportSessionResponse:
        """Make a session from what was exported."""
        first = await anext(requests_, None)
        if first is None:
            raise InvalidArgumentError("json_line", "is required")
        session_id = requests.optional_identifier("session_id", first.session_id)

        async def lines() -> AsyncIterator[str]:
            yield first.json_line
            async for request in requests_:
                yield request.json_line

        session, existed = await self._engine.take(session_id, lines())
        return state_pb2.ImportSessionResponse(
            session=responses.session_message(session),
            state=await self._tip_message(session),
            existed=existed,
            facts=session.revision,
        )

    async def DeleteSession(
        self, request: state_pb2.DeleteSessionRequest, context: Context
    ) -> state_pb2.DeleteSessionResponse:
        """Delete a session."""
        deleted = await self._engine.delete(validate.identifier("session_id", request.session_id))
        return state_pb2.DeleteSessionResponse(deleted_facts=deleted)

    async def ListTurns(self, request: state_pb2.ListTurnsRequest, context: Context) -> state_pb2.ListTurnsResponse:
        """List turns."""
        page = await self._engine.turns(
            validate.identifier("session_id", request.session_id),
            requests.optional_identifier("path_to_turn_id", request.path_to_turn_id),
            validate.count("page_size", request.page_size, MAX_PAGE, default=DEFAULT_PAGE),
            request.page_token,
        )
        return state_pb2.ListTurnsResponse(
            turns=[responses.turn_message(said) for said in page.turns], next_page_token=page.next_token
        )

    async def _tip_message(self, session: Session) -> state_pb2.State:
        return state_message(await self._engine.folding.at_tip(session))

    def _place(
        self, request: state_pb2.GetStateRequest | state_pb2.ExplainRequest
    ) -> tuple[str, str | None, int | None]:
        session_id = validate.identifier("session_id", request.session_id)
        turn_id = requests.optional_identifier("turn_id", request.turn_id)
        if not request.HasField("as_of"):
            return session_id, turn_id, None
        return session_id, turn_id, validate.past_ns("as_of", request.as_of, self._clock.now_ns())


def build_service(settings: StateSettings, clock: Clock, connect: Connect = sqlite_file.connect) -> StateEngineService:
    """Put the state engine together as the settings say. Nothing is opened yet.

    Raises:
        TemperamentError, TemperamentNotFoundError: a temperament cannot be used, or the default one does not exist.
        JournalOpenError: the journal's URL is none.
    """
    journal = _journal(settings, clock, connect)
    options = EngineOptions(
        temperament=settings.temperament,
        keep_text=settings.keep_text,
        cached_sessions=settings.cached_sessions,
        facts_per_session=settings.facts_per_session,
    )
    engine = Engine(journal, TemperamentLibrary(settings.temperaments_dir), clock, options)
    days = settings.retention_days
    retention = None if days is None else Retention(journal, engine.forget, clock, days)
    return StateEngineService(engine, journal, clock, retention)


def _journal(settings: StateSettings, clock: Clock, connect: Connect) -> Journal:
    url = settings.journal_url
    if url.startswith(postgres_server.SCHEMES):
        return PostgresJournal(url, clock, capacity=settings.write_queue)
    return SqliteJournal(path_of(url), clock, capacity=settings.write_queue, connect=connect)
