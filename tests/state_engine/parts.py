"""Real parts for the state engine's tests: a server on a free port, a journal in a temporary file, and a clock that tests set."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from limbic.affect.v1 import affect_pb2
from limbic.runtime.channels import open_channel
from limbic.runtime.clock import NS_PER_S
from limbic.runtime.errors import RpcFailure, failure_of
from limbic.runtime.server import RunningServer
from limbic.runtime.settings import StateSettings
from limbic.state.v1 import state_pb2, state_pb2_grpc
from services.state_engine.journal import sqlite_file
from services.state_engine.journal.sqlite_file import Connect
from services.state_engine.server import build_service

START_NS = 1_780_000_000 * NS_PER_S
"""A day in 2026."""


class SetClock:
    """A clock that stands still until a test moves it."""

    def __init__(self, now_ns: int = START_NS) -> None:
        self.now = now_ns

    def now_ns(self) -> int:
        return self.now

    def monotonic(self) -> float:
        return self.now / NS_PER_S

    def pass_s(self, seconds: float) -> None:
        self.now += round(seconds * NS_PER_S)

    def timestamp(self, offset_s: float = 0.0) -> Timestamp:
        moment = self.now + round(offset_s * NS_PER_S)
        return Timestamp(seconds=moment // NS_PER_S, nanos=moment % NS_PER_S)


@dataclass
class Running:
    """A state engine that runs, and how to call it."""

    stub: state_pb2_grpc.StateEngineServiceAsyncStub
    clock: SetClock
    journal: Path
    target: str


@asynccontextmanager
async def running_engine(
    journal: Path | str,
    clock: SetClock,
    settings: StateSettings | None = None,
    connect: Connect = sqlite_file.connect,
) -> AsyncIterator[Running]:
    """Serve a state engine on a free port for the length of a block. The journal is a file, or the URL of a database."""
    # The type of `listen` wants a port that is known, which a test cannot know.
    settings = (settings or StateSettings()).model_copy(update={"listen": "127.0.0.1:0"})
    url = f"sqlite:///{journal}" if isinstance(journal, Path) else journal
    service = build_service(settings.model_copy(update={"journal_url": url}), clock, connect)
    server = RunningServer(service, settings, drain_s=1.0, lame_duck_s=0.0)
    try:
        await server.start()
        async with open_channel(f"127.0.0.1:{server.port}") as channel:
            stub = state_pb2_grpc.StateEngineServiceStub(channel)
            yield Running(stub, clock, Path(journal), f"127.0.0.1:{server.port}")
    finally:
        await server.stop()


def reading(
    valence: float = 0.0, intimacy: float = 0.0, tension: float = 0.0, confidence: float = 0.9
) -> affect_pb2.AffectReading:
    """Return a reading as a head would send it."""
    return affect_pb2.AffectReading(
        valence=valence,
        intimacy=intimacy,
        tension=tension,
        confidence=confidence,
        uncertainty=affect_pb2.AxisUncertainty(valence=0.2, intimacy=0.3, tension=0.1),
        emotions=[affect_pb2.Emotion(label="sadness", probability=1 / 3, active=False)],
        head=affect_pb2.HeadIdentity(id="test-head", quantization="Q4_0", calibration="1"),
    )


def values(state: state_pb2.State) -> dict[str, float]:
    """Return the levels by name."""
    return {level.name: level.value for level in state.levels}


async def refused(call: Awaitable[object]) -> RpcFailure:
    """Return how a call failed; a call that succeeds is a failed test."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return failure_of(caught.value)
