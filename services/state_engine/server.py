"""The state engine behind gRPC. Methods that are not here answer UNIMPLEMENTED."""

from __future__ import annotations

from typing import Any

import grpc

from limbic.runtime import validate
from limbic.runtime.clock import Clock
from limbic.runtime.settings import StateSettings
from limbic.state.v1 import state_pb2, state_pb2_grpc
from services.state_engine import requests, responses
from services.state_engine.engine import Engine, EngineOptions
from services.state_engine.journal import sqlite_file
from services.state_engine.journal.port import Journal
from services.state_engine.journal.sqlite import SqliteJournal
from services.state_engine.journal.sqlite_file import Connect, path_of
from services.state_engine.library import TemperamentLibrary

MAX_PAGE = 1_000
DEFAULT_PAGE = 100

Context = grpc.aio.ServicerContext[Any, Any]


class StateEngineService(state_pb2_grpc.StateEngineServiceServicer):
    """Answers the calls of `limbic.state.v1.StateEngineService`.

    Args:
        engine: the use cases.
        journal: opened when the service starts, closed when it stops.
        clock: the present.
    """

    full_name = "limbic.state.v1.StateEngineService"

    def __init__(self, engine: Engine, journal: Journal, clock: Clock) -> None:
        self._engine = engine
        self._journal = journal
        self._clock = clock

    def register(self, server: grpc.aio.Server) -> None:
        """Add the handlers to a server."""
        state_pb2_grpc.add_StateEngineServiceServicer_to_server(self, server)

    async def start(self) -> None:
        """Open the journal."""
        await self._journal.start()

    async def stop(self) -> None:
        """Write what waits and close the journal."""
        await self._journal.stop()

    async def CreateSession(
        self, request: state_pb2.CreateSessionRequest, context: Context
    ) -> state_pb2.CreateSessionResponse:
        """Open a session."""
        session, existed = await self._engine.create_session(requests.create_session(request))
        state = session.state_now(session.tip, self._clock.now_ns())
        return state_pb2.CreateSessionResponse(
            session=responses.session_message(session), state=responses.state_message(state), existed=existed
        )

    async def GetState(self, request: state_pb2.GetStateRequest, context: Context) -> state_pb2.GetStateResponse:
        """Read a state."""
        session_id = validate.identifier("session_id", request.session_id)
        turn_id = requests.optional_identifier("turn_id", request.turn_id)
        as_of_ns: int | None = None
        if request.HasField("as_of"):
            as_of_ns = validate.past_ns("as_of", request.as_of, self._clock.now_ns())
        state = await self._engine.state(session_id, turn_id, as_of_ns)
        return state_pb2.GetStateResponse(state=responses.state_message(state))

    async def RecordTurn(self, request: state_pb2.RecordTurnRequest, context: Context) -> state_pb2.RecordTurnResponse:
        """Record something said."""
        state, duplicate = await self._engine.record_turn(requests.record_turn(request, self._clock.now_ns()))
        return state_pb2.RecordTurnResponse(state=responses.state_message(state), duplicate=duplicate)

    async def AddStimulus(
        self, request: state_pb2.AddStimulusRequest, context: Context
    ) -> state_pb2.AddStimulusResponse:
        """Add a stimulus to a turn."""
        state, duplicate = await self._engine.add_stimulus(requests.add_stimulus(request, self._clock.now_ns()))
        return state_pb2.AddStimulusResponse(state=responses.state_message(state), duplicate=duplicate)

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


def build_service(settings: StateSettings, clock: Clock, connect: Connect = sqlite_file.connect) -> StateEngineService:
    """Put the state engine together as the settings say. Nothing is opened yet.

    Raises:
        TemperamentError, TemperamentNotFoundError: a temperament cannot be used, or the default one does not exist.
        JournalOpenError: the journal's URL is none.
    """
    journal = SqliteJournal(path_of(settings.journal_url), clock, capacity=settings.write_queue, connect=connect)
    options = EngineOptions(
        temperament=settings.temperament,
        keep_text=settings.keep_text,
        cached_sessions=settings.cached_sessions,
        facts_per_session=settings.facts_per_session,
    )
    engine = Engine(journal, TemperamentLibrary(settings.temperaments_dir), clock, options)
    return StateEngineService(engine, journal, clock)
