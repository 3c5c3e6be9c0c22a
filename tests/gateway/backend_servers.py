"""The three backends as real gRPC servers around the fakes, so that a whole gateway can run against them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import grpc

from gateway.ports import BackendFailure, Fact
from limbic.affect.v1 import affect_pb2, affect_pb2_grpc
from limbic.llm.v1 import llm_pb2, llm_pb2_grpc
from limbic.runtime.errors import LimbicError
from limbic.runtime.server import RunningServer
from limbic.runtime.settings import ServerSettings
from limbic.state.v1 import state_pb2, state_pb2_grpc
from tests.gateway.engine_model import EngineModel
from tests.gateway.fakes import FakeHead, FakeModel


def as_error(failure: BackendFailure) -> LimbicError:
    """Return an error that reaches the caller as this failure."""
    members = {"code": grpc.StatusCode[failure.code], "reason": failure.reason or "INTERNAL_ERROR"}
    leaf = type("ScriptedError", (LimbicError,), members)
    error = leaf("scripted", retry_after=failure.retry_after, **failure.metadata)
    assert isinstance(error, LimbicError)
    return error


class _Service:
    full_name = ""

    async def start(self) -> None:
        pass

    def drain(self) -> None:
        pass

    async def stop(self) -> None:
        pass


class EngineServer(_Service, state_pb2_grpc.StateEngineServiceServicer):
    """The engine model over gRPC."""

    full_name = "limbic.state.v1.StateEngineService"

    def __init__(self, model: EngineModel) -> None:
        self.model = model

    def register(self, server: grpc.aio.Server) -> None:
        state_pb2_grpc.add_StateEngineServiceServicer_to_server(self, server)

    async def CreateSession(self, request: state_pb2.CreateSessionRequest, context: Any) -> Any:
        state, existed = await self._record(request, context)
        return state_pb2.CreateSessionResponse(state=state, existed=existed)

    async def GetState(self, request: state_pb2.GetStateRequest, context: Any) -> Any:
        try:
            state = await self.model.get_state(request, context.time_remaining())
        except BackendFailure as failure:
            raise as_error(failure) from None
        return state_pb2.GetStateResponse(state=state)

    async def RecordTurn(self, request: state_pb2.RecordTurnRequest, context: Any) -> Any:
        state, duplicate = await self._record(request, context)
        return state_pb2.RecordTurnResponse(state=state, duplicate=duplicate)

    async def RecordTurns(self, request: state_pb2.RecordTurnsRequest, context: Any) -> Any:
        try:
            state = await self.model.record_turns(request, context.time_remaining())
        except BackendFailure as failure:
            raise as_error(failure) from None
        return state_pb2.RecordTurnsResponse(state=state, recorded=len(request.turns))

    async def AddStimulus(self, request: state_pb2.AddStimulusRequest, context: Any) -> Any:
        state, duplicate = await self._record(request, context)
        return state_pb2.AddStimulusResponse(state=state, duplicate=duplicate)

    async def ListTurns(self, request: state_pb2.ListTurnsRequest, context: Any) -> Any:
        try:
            return await self.model.list_turns(request, context.time_remaining())
        except BackendFailure as failure:
            raise as_error(failure) from None

    async def _record(self, fact: Fact, context: Any) -> tuple[state_pb2.State, bool]:
        try:
            recorded = await self.model.record(fact, context.time_remaining())
        except BackendFailure as failure:
            raise as_error(failure) from None
        return recorded.state, recorded.duplicate


class HeadServer(_Service, affect_pb2_grpc.AffectHeadServiceServicer):
    """The fake head over gRPC."""

    full_name = "limbic.affect.v1.AffectHeadService"

    def __init__(self, head: FakeHead) -> None:
        self.head = head

    def register(self, server: grpc.aio.Server) -> None:
        affect_pb2_grpc.add_AffectHeadServiceServicer_to_server(self, server)

    async def Classify(self, request: affect_pb2.ClassifyRequest, context: Any) -> Any:
        try:
            reading = await self.head.classify(request, context.time_remaining())
        except BackendFailure as failure:
            raise as_error(failure) from None
        return affect_pb2.ClassifyResponse(reading=reading)

    async def GetModelCard(self, request: affect_pb2.GetModelCardRequest, context: Any) -> Any:
        if self.head.failure is not None:
            raise as_error(self.head.failure)
        return affect_pb2.GetModelCardResponse(
            emotions=[affect_pb2.EmotionThreshold(label=label, threshold=0.3) for label in self.head.labels]
        )


class ModelServer(_Service, llm_pb2_grpc.LivingLlmServiceServicer):
    """The fake model over gRPC."""

    full_name = "limbic.llm.v1.LivingLlmService"

    def __init__(self, model: FakeModel) -> None:
        self.model = model

    def register(self, server: grpc.aio.Server) -> None:
        llm_pb2_grpc.add_LivingLlmServiceServicer_to_server(self, server)

    async def Generate(self, request: llm_pb2.GenerateRequest, context: Any) -> AsyncIterator[Any]:
        try:
            async for response in self.model.generate(request, context.time_remaining()):
                yield response
        except BackendFailure as failure:
            raise as_error(failure) from None

    async def CheckGenerate(self, request: llm_pb2.CheckGenerateRequest, context: Any) -> Any:
        try:
            await self.model.check(request.request, context.time_remaining())
        except BackendFailure as failure:
            raise as_error(failure) from None
        return llm_pb2.CheckGenerateResponse()

    async def GetModel(self, request: llm_pb2.GetModelRequest, context: Any) -> Any:
        upstream = llm_pb2.Upstream(name="local", kind="embedded", model="tiny", circuit="closed")
        return llm_pb2.GetModelResponse(upstreams=[upstream])


class Backend:
    """One backend at a Unix socket, which can be stopped and started again.

    Args:
        service: what answers.
        path: the socket's.
    """

    def __init__(self, service: Any, path: str) -> None:
        self.target = f"unix:{path}"
        self._service = service
        self._server: RunningServer | None = None

    async def start(self) -> None:
        settings = ServerSettings(listen=self.target)
        self._server = RunningServer(self._service, settings, drain_s=0.1, lame_duck_s=0)
        await self._server.start()

    async def stop(self) -> None:
        if self._server is not None:
            server, self._server = self._server, None
            await server.stop()
