"""A whole system for the probes in one process: the real state engine, default head and gateway, with a model that says little.

The head can be broken on its way to the gateway, and the engine can be given a broken temperament.
"""

from __future__ import annotations

import functools
import json
import tomllib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import grpc

from gateway.service import GatewayService
from limbic.affect.v1 import affect_pb2
from limbic.llm.v1 import llm_pb2, llm_pb2_grpc
from limbic.probes.forwarder import Forwarder
from limbic.probes.run import Progress
from limbic.probes.system import Targets
from limbic.runtime.clock import SystemClock
from limbic.runtime.server import RunningServer
from limbic.runtime.settings import AffectSettings, GatewaySettings, RuntimeSettings, ServerSettings, StateSettings
from services.affect_head.loading import open_head
from services.affect_head.server import AffectHeadService
from services.state_engine.journal import sqlite_file
from services.state_engine.server import build_service

SHIPPED = Path(__file__).parents[2] / "services/state_engine/temperaments/default.toml"

Alter = Callable[[affect_pb2.AffectReading], None]


def warm_bias() -> str:
    """Return the default temperament with the first system's fault: closeness warms, and nothing cold or harsh takes it back."""
    table = tomllib.loads(SHIPPED.read_text("utf-8"))
    appraisal = table["appraisal"]
    appraisal["intimacy_positive"]["oxytocin"] = 40.0
    # It had -0.8 where closeness had 6.6, and nothing at all for distance.
    appraisal["tension_positive"]["oxytocin"] = -1.3
    appraisal["valence_negative"]["oxytocin"] = -1.1
    appraisal["intimacy_negative"]["oxytocin"] = 0.0
    for emotion in table["emotions"].values():
        emotion["oxytocin"] = max(0.0, emotion.get("oxytocin", 0.0))
    return as_toml(table)


def as_toml(table: dict[str, Any], path: str = "") -> str:
    """Write a table of numbers, strings and tables."""
    values = {key: value for key, value in table.items() if not isinstance(value, dict)}
    lines = [f"{json.dumps(key)} = {json.dumps(value)}" for key, value in values.items()]
    parts = [f"[{path}]\n" if path else "", "\n".join(lines), "\n"]
    for key, value in table.items():
        if isinstance(value, dict):
            parts.append(as_toml(value, f"{path}.{json.dumps(key)}" if path else json.dumps(key)))
    return "".join(parts)


class AlteredHead(Forwarder):
    """A head whose readings are changed on their way."""

    def __init__(self, target: str, listen: str, alter: Alter | None) -> None:
        super().__init__(target, listen)
        self._alter = alter

    async def Classify(self, request: affect_pb2.ClassifyRequest, context: Any) -> affect_pb2.ClassifyResponse:
        answer = await super().Classify(request, context)
        if self._alter is not None:
            self._alter(answer.reading)
        return answer


class Model(llm_pb2_grpc.LivingLlmServiceServicer):
    """Says what it is told to say, whatever it is asked."""

    full_name = "limbic.llm.v1.LivingLlmService"

    def __init__(self, reply: str = "Mm.") -> None:
        self.reply = reply

    async def start(self) -> None:
        pass

    def drain(self) -> None:
        pass

    async def stop(self) -> None:
        pass

    def register(self, server: grpc.aio.Server) -> None:
        llm_pb2_grpc.add_LivingLlmServiceServicer_to_server(self, server)

    async def CheckGenerate(self, request: Any, context: Any) -> llm_pb2.CheckGenerateResponse:
        return llm_pb2.CheckGenerateResponse()

    async def GetModel(self, request: Any, context: Any) -> llm_pb2.GetModelResponse:
        return llm_pb2.GetModelResponse(upstreams=[llm_pb2.Upstream(name="local", kind="embedded", model="scripted")])

    async def Generate(self, request: llm_pb2.GenerateRequest, context: Any) -> AsyncIterator[llm_pb2.GenerateResponse]:
        yield llm_pb2.GenerateResponse(started=llm_pb2.Started(upstream="local", model="scripted"))
        yield llm_pb2.GenerateResponse(delta=llm_pb2.Delta(text=self.reply))
        yield llm_pb2.GenerateResponse(done=llm_pb2.Done(finish_reason=llm_pb2.FINISH_REASON_STOP))


class Body:
    """The running parts.

    Args:
        directory: for sockets and the journal; its path is short.
        alter: what is done to each reading.
        temperament: the text of the temperament that sessions get by default; None for the shipped one.
        reply: what the model says.
    """

    def __init__(
        self, directory: Path, *, alter: Alter | None = None, temperament: str | None = None, reply: str = "Mm."
    ) -> None:
        self._runtime = RuntimeSettings(data_dir=directory / "var", logs_dir=directory / "logs", drain_s=1.0)
        self.targets = Targets(
            f"unix:{directory}/gateway", f"unix:{directory}/state", f"unix:{directory}/heard", f"unix:{directory}/llm"
        )
        self._head_target = f"unix:{directory}/head"
        state = StateSettings(listen=self.targets.state_engine, journal_url=f"sqlite:///{directory}/journal.sqlite3")
        if temperament is not None:
            (directory / "temperaments").mkdir()
            (directory / "temperaments/broken.toml").write_text(temperament, "utf-8")
            own = {"temperament": "broken", "temperaments_dir": directory / "temperaments"}
            state = state.model_copy(update=own)
        affect = AffectSettings(listen=self._head_target)
        self.gateway = GatewaySettings(
            listen=self.targets.gateway,
            state_target=self.targets.state_engine,
            affect_target=self.targets.affect_head,
            llm_target=self.targets.living_llm,
            state_deadline_ms=10_000,
            feed_max_bytes=0,
        ).model_copy(update={"http": "127.0.0.1:0"})
        self.model = Model(reply)
        self._forwarder = AlteredHead(self._head_target, self.targets.affect_head, alter)
        self._servers = [
            RunningServer(service, settings, drain_s=0.5, lame_duck_s=0)
            for service, settings in (
                (build_service(state, SystemClock(), sqlite_file.connect), state),
                (AffectHeadService(affect, functools.partial(open_head, affect)), affect),
                (self.model, ServerSettings(listen=self.targets.living_llm)),
                (GatewayService(self.gateway, self._runtime), self.gateway),
            )
        ]

    async def __aenter__(self) -> Body:
        await self._forwarder.start()
        for server in self._servers:
            await server.start()
        return self

    async def __aexit__(self, *error: object) -> None:
        for server in reversed(self._servers):
            await server.stop()
        await self._forwarder.stop()


def unseen() -> Progress:
    """Return a progress that nobody looks at."""
    return lambda what, steps: lambda: None
