"""The three backends over gRPC: one attempt, one timeout each; every failure becomes a BackendFailure."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar, cast

import grpc

from gateway.ports import BackendFailure, Fact, Recorded
from limbic.affect.v1 import affect_pb2, affect_pb2_grpc
from limbic.llm.v1 import llm_pb2, llm_pb2_grpc
from limbic.runtime.errors import failure_of
from limbic.state.v1 import state_pb2, state_pb2_grpc

_T = TypeVar("_T")


@contextmanager
def _failures() -> Iterator[None]:
    try:
        yield
    except grpc.RpcError as error:
        said = failure_of(error)
        raise BackendFailure(
            said.code.name, said.reason, retry_after=said.retry_after, metadata=said.metadata
        ) from None


async def _unary(method: Any, request: Any, timeout_s: float, *, wait_for_ready: bool) -> Any:
    # The generated stubs' types are those of the synchronous library.
    with _failures():
        return await cast(Awaitable[Any], method(request, timeout=timeout_s, wait_for_ready=wait_for_ready))


class StateClient:
    """The state engine.

    Args:
        channel: to it.
        may_serve: whether to wait for a connection; False when it is known to be away, so that a turn does not spend its time on that.
    """

    def __init__(self, channel: grpc.aio.Channel, may_serve: Callable[[], bool]) -> None:
        self._stub = state_pb2_grpc.StateEngineServiceStub(channel)
        self._may_serve = may_serve

    async def get_state(self, request: state_pb2.GetStateRequest, timeout_s: float) -> state_pb2.State:
        """Read a state."""
        response = await _unary(self._stub.GetState, request, timeout_s, wait_for_ready=self._may_serve())
        return cast(state_pb2.GetStateResponse, response).state

    async def list_turns(self, request: state_pb2.ListTurnsRequest, timeout_s: float) -> state_pb2.ListTurnsResponse:
        """Read a page of turns, oldest first."""
        response = await _unary(self._stub.ListTurns, request, timeout_s, wait_for_ready=self._may_serve())
        return cast(state_pb2.ListTurnsResponse, response)

    async def record(self, fact: Fact, timeout_s: float) -> Recorded:
        """Tell a fact."""
        wait = self._may_serve()
        match fact:
            case state_pb2.CreateSessionRequest():
                created: state_pb2.CreateSessionResponse = await _unary(
                    self._stub.CreateSession, fact, timeout_s, wait_for_ready=wait
                )
                return Recorded(created.state, created.existed)
            case state_pb2.RecordTurnRequest():
                said: state_pb2.RecordTurnResponse = await _unary(
                    self._stub.RecordTurn, fact, timeout_s, wait_for_ready=wait
                )
                return Recorded(said.state, said.duplicate)
            case state_pb2.AddStimulusRequest():
                added: state_pb2.AddStimulusResponse = await _unary(
                    self._stub.AddStimulus, fact, timeout_s, wait_for_ready=wait
                )
                return Recorded(added.state, added.duplicate)

    async def record_turns(self, request: state_pb2.RecordTurnsRequest, timeout_s: float) -> state_pb2.State:
        """Tell several turns in one step; returns the state at the last."""
        response = await _unary(self._stub.RecordTurns, request, timeout_s, wait_for_ready=self._may_serve())
        return cast(state_pb2.RecordTurnsResponse, response).state


class AffectClient:
    """The affect head. Never waits for a connection: a turn goes on without it."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub = affect_pb2_grpc.AffectHeadServiceStub(channel)

    async def classify(self, request: affect_pb2.ClassifyRequest, timeout_s: float) -> affect_pb2.AffectReading:
        """Read an utterance."""
        response = await _unary(self._stub.Classify, request, timeout_s, wait_for_ready=False)
        return cast(affect_pb2.ClassifyResponse, response).reading

    async def explain(self, request: affect_pb2.ExplainRequest, timeout_s: float) -> affect_pb2.ExplainResponse:
        """Ask which words moved a reading."""
        response = await _unary(self._stub.Explain, request, timeout_s, wait_for_ready=False)
        return cast(affect_pb2.ExplainResponse, response)

    async def labels(self, timeout_s: float) -> list[str]:
        """Return the emotions that the head knows, in its own order."""
        request = affect_pb2.GetModelCardRequest()
        response = await _unary(self._stub.GetModelCard, request, timeout_s, wait_for_ready=False)
        return [emotion.label for emotion in cast(affect_pb2.GetModelCardResponse, response).emotions]


class LlmClient:
    """The living LLM."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub = llm_pb2_grpc.LivingLlmServiceStub(channel)

    async def generate(
        self, request: llm_pb2.GenerateRequest, timeout_s: float
    ) -> AsyncGenerator[llm_pb2.GenerateResponse, None]:
        """Generate a reply. Closing the generator cancels the call, which stops the model."""
        call = cast(Any, self._stub.Generate(request, timeout=timeout_s))
        try:
            with _failures():
                async for response in call:
                    yield response
        finally:
            # A stream that is merely dropped goes on at the server.
            call.cancel()

    async def check(self, request: llm_pb2.GenerateRequest, timeout_s: float) -> None:
        """Ask whether the request would be taken. Never waits for a connection: a turn goes on without the answer."""
        wanted = llm_pb2.CheckGenerateRequest(request=request)
        await _unary(self._stub.CheckGenerate, wanted, timeout_s, wait_for_ready=False)

    async def upstreams(self, timeout_s: float) -> list[llm_pb2.Upstream]:
        """Return the upstreams and the state of their circuits."""
        response = await _unary(self._stub.GetModel, llm_pb2.GetModelRequest(), timeout_s, wait_for_ready=False)
        return list(cast(llm_pb2.GetModelResponse, response).upstreams)
