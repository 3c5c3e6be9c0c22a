"""The gateway over gRPC, and the one place where its parts are put together."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import grpc

from gateway.admission import Admission
from gateway.backends import AFFECT_HEAD, LIVING_LLM, STATE_ENGINE, Backends
from gateway.background import Background
from gateway.clients import AffectClient, LlmClient, StateClient
from gateway.http.app import create_app
from gateway.http.operations import operations
from gateway.http.server import HttpServer
from gateway.observer import TurnObserver
from gateway.opening import Memory
from gateway.ports import Ports, TurnPolicy
from gateway.replay import Replayer
from gateway.requests import trace_id_of, turn_input
from gateway.responses import turn_response
from gateway.spool import Spool
from gateway.states import LastStates
from gateway.telemetry import Telemetry
from gateway.timer import SystemTimer
from gateway.transcripts import Transcripts
from gateway.turn import Turns
from limbic.gateway.v1 import gateway_pb2, gateway_pb2_grpc
from limbic.runtime import validate
from limbic.runtime.channels import open_channel
from limbic.runtime.deadline import current_deadline
from limbic.runtime.drain import Drain
from limbic.runtime.logs import get_logger
from limbic.runtime.settings import GatewaySettings, RuntimeSettings

_log = get_logger(__name__)

BACKGROUND_GRACE = 0.5
"""Share of the drain time that recordings get after the last call has ended; a supervisor must allow for both."""
_MIN_INTERVAL_S, _MAX_INTERVAL_S, _DEFAULT_INTERVAL_S = 0.2, 60.0, 1.0


class GatewayService(gateway_pb2_grpc.GatewayServiceServicer):
    """Takes turns. Holds the channels, the spool, the HTTP server and what goes on after a turn.

    Args:
        settings: the gateway's.
        runtime: what all processes share; the spool lies below its data directory.
    """

    full_name = "limbic.gateway.v1.GatewayService"

    def __init__(self, settings: GatewaySettings, runtime: RuntimeSettings) -> None:
        self._settings = settings
        self._drain_s = runtime.drain_s
        self._timer = SystemTimer()
        self._telemetry = Telemetry(settings.affect_window_ms / 1e3, keep_text=settings.log_text)
        self._spool = Spool(runtime.data_dir / "spool", settings.spool_max_bytes)
        self._background = Background()
        self._drain = Drain()
        self._channels: dict[str, grpc.aio.Channel] = {}
        self._watchers: list[asyncio.Task[None]] = []
        self._backends: Backends | None = None
        self._http: HttpServer | None = None
        self._turns: Turns | None = None

    @property
    def http_port(self) -> int:
        """The port of the HTTP server; 0 while it does not listen on one."""
        return self._http.port if self._http is not None else 0

    def register(self, server: grpc.aio.Server) -> None:
        """Add the handlers."""
        gateway_pb2_grpc.add_GatewayServiceServicer_to_server(self, server)

    async def start(self) -> None:
        """Open the spool and the channels, replay what waits, listen for HTTP.

        Raises:
            SpoolLockedError: another gateway uses the spool.
            OSError: the spool's directory or the HTTP address cannot be used.
        """
        settings = self._settings
        await self._spool.open()
        targets = {
            STATE_ENGINE: settings.state_target,
            AFFECT_HEAD: settings.affect_target,
            LIVING_LLM: settings.llm_target,
        }
        self._channels = {name: open_channel(target) for name, target in targets.items()}
        llm = LlmClient(self._channels[LIVING_LLM])
        backends = self._backends = Backends(self._channels, llm.upstreams, self._timer)
        ports = Ports(
            state=StateClient(self._channels[STATE_ENGINE], lambda: backends.may_serve(STATE_ENGINE)),
            affect=AffectClient(self._channels[AFFECT_HEAD]),
            llm=llm,
            spool=self._spool,
            timer=self._timer,
            observer=TurnObserver(self._telemetry),
        )
        policy = TurnPolicy(
            affect_deadline_s=settings.affect_deadline_ms / 1e3,
            state_deadline_s=settings.state_deadline_ms / 1e3,
            answer_reserve_s=settings.answer_reserve_ms / 1e3,
            history_messages=settings.history_messages,
        )
        memory = Memory(LastStates(), Transcripts())
        self._turns = Turns(ports, policy, memory, Admission(settings.max_turns), self._background)
        # What waits on disk is worth waiting for the engine's connection, however long that takes.
        replayer = Replayer(self._spool, StateClient(self._channels[STATE_ENGINE], lambda: True))
        self._watchers = [asyncio.create_task(backends.watch(name), name=f"watch-{name}") for name in targets]
        self._watchers.append(asyncio.create_task(replayer.run(), name="replay"))
        faces = [operations(lambda: backends.states, self._snapshot, self._drain)]
        self._http = HttpServer(create_app(faces), settings.http, self._drain_s)
        await self._http.start()
        _log.info("http", listen=settings.http)

    def drain(self) -> None:
        """End the streams of telemetry, and say on `/readyz` that this gateway takes no turns any more."""
        self._drain.begin()

    async def stop(self) -> None:
        """Finish what was begun for turns that have ended, and close everything."""
        if self._http is not None:
            await self._http.stop()
        unfinished = await self._background.drain(self._drain_s * BACKGROUND_GRACE)
        if unfinished:
            _log.warning("work was left undone", tasks=unfinished)
        for watcher in self._watchers:
            watcher.cancel()
        await asyncio.gather(*self._watchers, return_exceptions=True)
        await self._spool.close()
        for channel in self._channels.values():
            await channel.close(None)

    async def Turn(self, request: gateway_pb2.TurnRequest, context: Any) -> AsyncIterator[gateway_pb2.TurnResponse]:
        """Run one turn."""
        deadline = current_deadline()
        if deadline is None or self._turns is None:
            raise RuntimeError("a turn outside of a running server")
        turn = turn_input(
            request,
            persona=self._settings.persona,
            window_s=self._settings.affect_window_ms / 1e3,
            trace_id=trace_id_of(context.invocation_metadata() or ()),
            deadline_at=deadline.at,
        )
        async with aclosing(self._turns.run(turn)) as events:
            async for event in events:
                yield turn_response(event)

    async def GetTelemetrySnapshot(
        self, request: gateway_pb2.GetTelemetrySnapshotRequest, context: Any
    ) -> gateway_pb2.GetTelemetrySnapshotResponse:
        """Return what the gateway has seen lately."""
        return gateway_pb2.GetTelemetrySnapshotResponse(snapshot=self._snapshot())

    async def WatchTelemetry(
        self, request: gateway_pb2.WatchTelemetryRequest, context: Any
    ) -> AsyncIterator[gateway_pb2.WatchTelemetryResponse]:
        """Send it at an interval, until the client goes away, its deadline comes or the gateway goes down."""
        interval_s = _DEFAULT_INTERVAL_S
        if request.HasField("interval"):
            interval_s = validate.duration_s("interval", request.interval, _MIN_INTERVAL_S, _MAX_INTERVAL_S)
        while True:
            yield gateway_pb2.WatchTelemetryResponse(snapshot=self._snapshot())
            await self._drain.unless_begun(asyncio.sleep(interval_s))

    def _snapshot(self) -> gateway_pb2.TelemetrySnapshot:
        states = self._backends.states if self._backends is not None else {}
        upstreams = self._backends.upstreams if self._backends is not None else []
        return self._telemetry.snapshot(self._timer.now_ns(), states, upstreams, len(self._spool))
