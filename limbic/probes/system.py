"""The running system, as the probes meet it: words go in through the gateway, states are read from the state engine.

Nothing but words is ever said: no reading, no event, no label of what the words are meant to do. What else is asked of the state engine is
to open a session (which says what temperament it got), to stop its clock for an announced absence, to read, and to delete it afterwards.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

import grpc

from limbic import __version__
from limbic.affect.v1 import affect_pb2, affect_pb2_grpc
from limbic.client import CallError, bearer
from limbic.gateway.v1 import gateway_pb2, gateway_pb2_grpc
from limbic.llm.v1 import llm_pb2, llm_pb2_grpc
from limbic.probes.errors import NotProbedError
from limbic.probes.hearing import Heard, Hearing, as_reading, distances, reading_of
from limbic.probes.levels import Distances, Reading
from limbic.probes.result import Running
from limbic.probes.script import Reader
from limbic.runtime.channels import open_channel
from limbic.runtime.clock import NS_PER_S
from limbic.runtime.errors import failure_of
from limbic.state.v1 import state_pb2, state_pb2_grpc

TURN_S = 120.0
READ_S = 60.0
CARD_S = 10.0
KNOWN_S = 60.0
POLL_S = 0.1
PATIENT_WINDOW_S = 60.0
"""A turn that is measured for what it makes felt waits for its reading: the window is the latency suite's business."""


@dataclass(frozen=True, slots=True)
class Targets:
    """Where the services are: HOST:PORT or unix:PATH. Head and model are only asked what they are, and the head to read replies.

    Attributes:
        key: what the gateway asks for; empty if it asks for nothing.
        credentials: for services that ask for a certificate; None where they do not.
    """

    gateway: str
    state_engine: str
    affect_head: str
    living_llm: str
    key: str = field(default="", repr=False)
    credentials: grpc.ChannelCredentials | None = None


@dataclass(frozen=True, slots=True)
class Point:
    """One moment of a curve: distances and moods, as recorded and as replayed."""

    recorded: Distances
    replayed: Distances
    moods: Mapping[str, float]
    replayed_moods: Mapping[str, float]


class System:
    """Talks to a running system. Connects when it is first used; one for each event loop.

    Args:
        targets: where its services are.
    """

    def __init__(self, targets: Targets) -> None:
        gateway = open_channel(targets.gateway)
        state, head, llm = (
            open_channel(target, credentials=targets.credentials)
            for target in (targets.state_engine, targets.affect_head, targets.living_llm)
        )
        self._channels = (gateway, state, head, llm)
        self._metadata = bearer(targets.key)
        self._gateway: Any = gateway_pb2_grpc.GatewayServiceStub(gateway)
        self._state: Any = state_pb2_grpc.StateEngineServiceStub(state)
        self._head: Any = affect_pb2_grpc.AffectHeadServiceStub(head)
        self._llm: Any = llm_pb2_grpc.LivingLlmServiceStub(llm)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for channel in self._channels:
            await channel.close(None)

    async def open(self, session_id: str, temperament: str = "") -> state_pb2.Session:
        """Open a session, and learn what temperament it has.

        Raises:
            CallError: the engine cannot be reached, or knows no such temperament.
        """
        request = state_pb2.CreateSessionRequest(session_id=session_id, temperament=temperament)
        answer: state_pb2.CreateSessionResponse = await _call(self._state.CreateSession, request)
        return answer.session

    async def delete(self, session_id: str) -> None:
        """Delete a session, and all that was said in it.

        Raises:
            CallError: the engine cannot be reached.
        """
        await _call(self._state.DeleteSession, state_pb2.DeleteSessionRequest(session_id=session_id))

    async def pause(self, session_id: str, from_ns: int, to_ns: int) -> None:
        """Tell the engine of an absence that was announced.

        Raises:
            CallError: the engine cannot be reached, or refuses.
        """
        pause = state_pb2.PauseRequest(session_id=session_id, pause_id=f"away-{from_ns}")
        getattr(pause, "from").FromNanoseconds(from_ns)
        await _call(self._state.Pause, pause)
        resume = state_pb2.ResumeRequest(session_id=session_id, pause_id=pause.pause_id)
        getattr(resume, "from").FromNanoseconds(to_ns)
        await _call(self._state.Resume, resume)

    async def say(
        self,
        session_id: str,
        turn_id: str,
        text: str,
        *,
        parent_turn_id: str,
        said_at_ns: int | None = None,
        window_s: float | None = PATIENT_WINDOW_S,
        waits_for_reply: bool = False,
        sampling: llm_pb2.Sampling | None = None,
    ) -> Heard:
        """Say something, and nothing else.

        Args:
            session_id: the conversation.
            turn_id: the words' id.
            text: the words.
            parent_turn_id: what they follow; empty for the root.
            said_at_ns: when they were said; None for now.
            window_s: how long the turn waits for its reading; None for the gateway's own window.
            waits_for_reply: hear the reply to its end. Else the call ends once the words are felt, and the model stops.
            sampling: how the reply is sampled; what is unset follows the state.

        Raises:
            CallError: the turn was refused, or its reply broke off.
        """
        request = gateway_pb2.TurnRequest(
            session_id=session_id, turn_id=turn_id, text=text, parent_turn_id=parent_turn_id
        )
        if said_at_ns is not None:
            request.occurred_at.FromNanoseconds(said_at_ns)
        if window_s is not None:
            request.options.affect_window.FromNanoseconds(round(window_s * NS_PER_S))
        if sampling is not None:
            request.options.sampling.CopyFrom(sampling)
        began, hearing = time.perf_counter(), Hearing(turn_id)
        call = self._gateway.Turn(request, timeout=TURN_S, metadata=self._metadata)
        try:
            async for response in call:
                hearing.take(response, time.perf_counter() - began)
                if hearing.is_felt and not waits_for_reply:
                    break
        except grpc.RpcError as error:
            raise CallError(failure_of(error)) from error
        finally:
            call.cancel()
        return hearing.heard()

    async def until_known(self, session_id: str, turn_id: str) -> None:
        """Wait until the engine knows a turn: a gateway that could not tell it in time keeps it on disk, in order, and tells it later.

        Raises:
            CallError: the engine cannot be reached, or does not learn of the turn.
        """
        request = state_pb2.ListTurnsRequest(session_id=session_id, path_to_turn_id=turn_id, page_size=1)
        give_up = time.monotonic() + KNOWN_S
        while True:
            try:
                await _call(self._state.ListTurns, request)
                return
            except CallError as error:
                if error.failure.reason != "TURN_NOT_FOUND" or time.monotonic() > give_up:
                    raise
            await asyncio.sleep(POLL_S)

    async def curve(
        self, session_id: str, turn_id: str, moments_ns: Sequence[int], instead: Sequence[Reader | None] = ()
    ) -> list[Point]:
        """Read the levels at some moments, and how they would stand there with other readings. Changes nothing.

        Args:
            session_id: the conversation.
            turn_id: the end of its path.
            moments_ns: the moments, ascending.
            instead: for each turn on the path in its order how it is to have been read; None leaves what was recorded.

        Raises:
            CallError: the engine cannot be reached, or does not know the turn.
        """
        request = state_pb2.ReplayRequest(session_id=session_id, turn_id=turn_id)
        if instead:
            request.readings.extend(await self._instead(session_id, turn_id, instead))
        for moment in moments_ns:
            request.moments.add().FromNanoseconds(moment)
        found = []
        try:
            async for point in self._state.Replay(request, timeout=READ_S):
                moods = [{mood.name: mood.intensity for mood in one.moods} for one in (point.recorded, point.replayed)]
                found.append(Point(distances(point.recorded), distances(point.replayed), *moods))
        except grpc.RpcError as error:
            raise CallError(failure_of(error)) from error
        return found

    async def read(self, text: str) -> Reading:
        """Have the head read a text that nobody said to the character: a reply.

        Raises:
            CallError: the head cannot be reached, or refuses.
        """
        answer: affect_pb2.ClassifyResponse = await _call(
            self._head.Classify, affect_pb2.ClassifyRequest(text=text[:8_000])
        )
        return reading_of(answer.reading)

    async def running(self, session: state_pb2.Session, *, speaks: bool, seed: int, suite_sha256: str) -> Running:
        """Say what is running.

        Args:
            session: one of the probe's, which has the temperament that is judged.
            speaks: whether the suite hears replies, so that the model matters.
            seed: of everything that is drawn.
            suite_sha256: over the suite's files.

        Raises:
            CallError: the head or the model cannot be asked what it is.
        """
        card: affect_pb2.GetModelCardResponse = await _call(
            self._head.GetModelCard, affect_pb2.GetModelCardRequest(), CARD_S
        )
        spoken = llm_pb2.Upstream()
        if speaks:
            models: llm_pb2.GetModelResponse = await _call(self._llm.GetModel, llm_pb2.GetModelRequest(), CARD_S)
            if not models.upstreams:
                raise NotProbedError("the living LLM names no upstream")
            spoken = models.upstreams[0]
        return Running(
            limbic=__version__,
            head=card.head.id,
            head_quantization=card.head.quantization,
            head_calibration=card.head.calibration,
            head_sha256=card.sha256,
            temperament=session.temperament,
            temperament_digest=session.temperament_digest,
            upstream=spoken.name,
            model=spoken.model,
            model_sha256=spoken.sha256,
            seed=seed,
            suite_sha256=suite_sha256,
        )

    async def late_readings(self, session_id: str) -> dict[str, int]:
        """Return how many readings each turn of a session has by now.

        Raises:
            CallError: the engine cannot be reached.
        """
        request = state_pb2.ListTurnsRequest(session_id=session_id, page_size=1_000)
        answer: state_pb2.ListTurnsResponse = await _call(self._state.ListTurns, request)
        return {
            turn.turn_id: sum(one.HasField("reading") for one in turn.stimuli)
            for turn in answer.turns
            if turn.role == state_pb2.ROLE_USER
        }

    async def _instead(
        self, session_id: str, turn_id: str, instead: Sequence[Reader | None]
    ) -> list[state_pb2.Stimulus]:
        request = state_pb2.ListTurnsRequest(session_id=session_id, path_to_turn_id=turn_id, page_size=1_000)
        answer: state_pb2.ListTurnsResponse = await _call(self._state.ListTurns, request)
        said = [turn for turn in answer.turns if turn.role == state_pb2.ROLE_USER]
        return [
            state_pb2.Stimulus(stimulus_id=one.stimulus_id, reading=as_reading(reader))
            for turn, reader in zip(said, instead, strict=True)
            if reader is not None
            for one in turn.stimuli
            if one.HasField("reading")
        ]


async def _call(method: Any, request: Any, timeout_s: float = READ_S) -> Any:
    try:
        return await method(request, timeout=timeout_s)
    except grpc.RpcError as error:
        raise CallError(failure_of(error)) from error
