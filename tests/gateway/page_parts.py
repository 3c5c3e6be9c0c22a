"""A whole gateway around a real state engine, with a head and a model that tests direct."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from gateway.ports import BackendFailure
from limbic.affect.v1 import affect_pb2
from limbic.runtime.clock import SystemClock
from limbic.runtime.server import RunningServer
from limbic.runtime.settings import StateSettings
from services.state_engine.journal import sqlite_file
from services.state_engine.server import build_service
from tests.gateway.backend_servers import Backend, HeadServer, as_error
from tests.gateway.conftest import House
from tests.gateway.fakes import FakeHead

WARM = affect_pb2.AffectReading(
    valence=0.8,
    intimacy=0.7,
    tension=-0.3,
    confidence=0.9,
    uncertainty=affect_pb2.AxisUncertainty(valence=0.1, intimacy=0.2, tension=0.1),
    emotions=[
        affect_pb2.Emotion(label="joy", probability=0.9, active=True),
        affect_pb2.Emotion(label="anger", probability=0.01, active=False),
    ],
    head=affect_pb2.HeadIdentity(id="test-head", quantization="Q4_0", calibration="1"),
)
HOSTILE = affect_pb2.AffectReading(
    valence=-0.9,
    intimacy=-0.2,
    tension=0.8,
    confidence=0.9,
    uncertainty=affect_pb2.AxisUncertainty(valence=0.1, intimacy=0.2, tension=0.1),
    emotions=[affect_pb2.Emotion(label="anger", probability=0.9, active=True)],
    head=affect_pb2.HeadIdentity(id="test-head", quantization="Q4_0", calibration="1"),
)


class ListeningHead(FakeHead):
    """Reads words with "hate" in them as hostile and all others as warm, and can say why."""

    def __init__(self) -> None:
        super().__init__()
        self.explained: list[affect_pb2.ExplainRequest] = []
        self.explain_failure: BackendFailure | None = None

    async def classify(self, request: affect_pb2.ClassifyRequest, timeout_s: float) -> affect_pb2.AffectReading:
        self.reading = HOSTILE if "hate" in request.text else WARM
        return await super().classify(request, timeout_s)


class ListeningHeadServer(HeadServer):
    """Serves `ListeningHead`. Every word is said to move valence by a tenth of its length."""

    head: ListeningHead

    async def Explain(self, request: affect_pb2.ExplainRequest, context: Any) -> Any:
        self.head.explained.append(request)
        if self.head.explain_failure is not None:
            raise as_error(self.head.explain_failure) from None
        words, offset = [], 0
        for word in request.text.split():
            offset = request.text.index(word, offset)
            words.append(affect_pb2.WordContribution(word=word, offset=offset, valence=len(word) / 10))
            offset += len(word)
        return affect_pb2.ExplainResponse(reading=WARM, words=words, sentence=f"“{words[0].word}” did it.")


class EngineBackend:
    """A real state engine at a Unix socket, which can be stopped and started again on the same journal."""

    def __init__(self, directory: Path) -> None:
        self.target = f"unix:{directory}/state"
        self._journal = f"sqlite:///{directory}/journal.sqlite3"
        self._server: RunningServer | None = None

    async def start(self) -> None:
        settings = StateSettings(listen=self.target, journal_url=self._journal)
        service = build_service(settings, SystemClock(), sqlite_file.connect)
        self._server = RunningServer(service, settings, drain_s=0.1, lame_duck_s=0)
        await self._server.start()

    async def stop(self) -> None:
        if self._server is not None:
            server, self._server = self._server, None
            await server.stop()


class PageHouse(House):
    """A gateway whose state engine is the real one."""

    head: ListeningHead

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.head = ListeningHead()
        self.head_backend = Backend(ListeningHeadServer(self.head), f"{directory}/affect")
        self.engine_backend = EngineBackend(directory)  # type: ignore[assignment]

    @property
    def url(self) -> str:
        assert self.service is not None
        return f"http://127.0.0.1:{self.service.http_port}"


@dataclass(frozen=True)
class Event:
    """One server-sent event."""

    name: str
    data: Any


async def events_of(response: httpx.Response) -> AsyncIterator[Event]:
    """Read a stream's events; comments are left out."""
    name = ""
    async for line in response.aiter_lines():
        if line.startswith("event: "):
            name = line.removeprefix("event: ")
        elif line.startswith("data: "):
            yield Event(name, json.loads(line.removeprefix("data: ")))
