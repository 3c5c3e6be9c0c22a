"""The gateway over gRPC, and the one place where its parts are put together."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from contextlib import aclosing
from dataclasses import replace
from typing import Any, cast

import grpc
from fastapi import FastAPI

from gateway.access.access import Access
from gateway.access.counted import CountedSpool, CountedState
from gateway.access.holdings import Holdings
from gateway.access.interceptor import KeyInterceptor
from gateway.access.renewal import renewed_certificate
from gateway.access.ring import KeyRing
from gateway.access.seen import ChargedHead, SeenEngine, SeenStub, seen_event
from gateway.admission import Admission
from gateway.backends import AFFECT_HEAD, LIVING_LLM, STATE_ENGINE, Backends
from gateway.background import Background
from gateway.clients import AffectClient, LlmClient, StateClient
from gateway.completions.request import TurnDefaults
from gateway.directory import Directory
from gateway.events import TurnEvent, TurnInput
from gateway.feeds import Feeds
from gateway.feeds_readings import Readings
from gateway.http.app import create_app
from gateway.http.classify import classification
from gateway.http.completions import Completions, completions
from gateway.http.conversations import Conversations, conversations
from gateway.http.conversations_guard import Guard
from gateway.http.operations import operations
from gateway.http.page import page
from gateway.http.server import HttpServer
from gateway.http.stream import Watchers
from gateway.http.stream_telemetry import telemetry_stream
from gateway.metrics import STAGE_BUDGET_SECONDS
from gateway.observer import TurnObserver
from gateway.opening import Memory
from gateway.placing import Placer
from gateway.ports import BackendFailure, Ports, SpoolPort, StatePort, TurnPolicy
from gateway.replay import Replayer
from gateway.requests import telemetry_interval_s, trace_id_of, turn_input
from gateway.responses import turn_response
from gateway.session_places import SessionPlaces
from gateway.spool import Spool
from gateway.states import LastStates
from gateway.telemetry import Telemetry
from gateway.timer import SystemTimer
from gateway.transcripts import Transcripts
from gateway.turn import Turns
from limbic.affect.v1 import affect_pb2_grpc
from limbic.gateway.v1 import gateway_pb2, gateway_pb2_grpc
from limbic.runtime.channels import open_channel
from limbic.runtime.deadline import current_deadline
from limbic.runtime.drain import Drain
from limbic.runtime.logs import get_logger
from limbic.runtime.settings import GatewaySettings, RuntimeSettings
from limbic.runtime.tls import channel_credentials, face_certificates, service_certificates
from limbic.state.v1 import state_pb2, state_pb2_grpc

_log = get_logger(__name__)

_ASK_S = 1.0
"""For a question that nobody waits for but a key that is about to be refused."""

BACKGROUND_GRACE = 0.5
"""Share of the drain time that recordings get after the last call has ended; a supervisor must allow for both."""


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
        self._directory = Directory(runtime.data_dir / "directory.sqlite3", self._timer)
        self._background = Background()
        self._drain = Drain()
        self._channels: dict[str, grpc.aio.Channel] = {}
        self._watchers: list[asyncio.Task[None]] = []
        self._backends: Backends | None = None
        self._http: HttpServer | None = None
        self._turns: Turns | None = None
        self._readings: Readings | None = None
        self._feeds = (
            Feeds(runtime.logs_dir, settings.feed_max_bytes, settings.feed_files) if settings.feed_max_bytes else None
        )
        self._streams = Watchers(settings.max_watchers)
        self._certificates = service_certificates(runtime)
        self._shown = face_certificates(runtime, settings)
        self._ring = KeyRing(settings.keys_file, self._timer) if settings.keys_file is not None else None
        self._holdings: Holdings | None = None
        self._holdings_file = runtime.data_dir / "keys.sqlite3"
        self._access = Access(self._ring)
        self.guard = KeyInterceptor(self._access)
        """Asks every call for a key: the server has to be started with it."""
        self.app: FastAPI | None = None
        """What answers over HTTP, once it has been started."""

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
            SettingsError: the keys file or a certificate cannot be used.
            OSError: the spool's directory or the HTTP address cannot be used.
        """
        settings = self._settings
        if self._ring is not None:
            await self._ring.load()
        await self._spool.open()
        await self._directory.open()
        targets = {
            STATE_ENGINE: settings.state_target,
            AFFECT_HEAD: settings.affect_target,
            LIVING_LLM: settings.llm_target,
        }
        credentials = channel_credentials(self._certificates) if self._certificates is not None else None
        self._channels = {name: open_channel(target, credentials=credentials) for name, target in targets.items()}
        llm = LlmClient(self._channels[LIVING_LLM])
        backends = self._backends = Backends(self._channels, llm.upstreams, self._timer)
        affect = AffectClient(self._channels[AFFECT_HEAD])
        # A reason quotes the words: where they are not shown, it would be computed for nobody.
        wanted = settings.explain_readings and settings.log_text
        readings = self._readings = Readings(self._telemetry, self._feeds, affect.explain if wanted else None)
        readings.start()
        engine: StatePort = StateClient(self._channels[STATE_ENGINE], lambda: backends.may_serve(STATE_ENGINE))
        spool: SpoolPort = self._spool
        if self._ring is not None:
            holdings = self._holdings = await self._open_holdings(self._ring, engine)
            engine, spool = CountedState(engine, holdings), CountedSpool(spool, holdings)
        ports = Ports(
            state=engine,
            affect=affect,
            llm=llm,
            spool=spool,
            timer=self._timer,
            observer=TurnObserver(self._telemetry, readings.seen),
        )
        policy = TurnPolicy(
            affect_deadline_s=settings.affect_deadline_ms / 1e3,
            state_deadline_s=settings.state_deadline_ms / 1e3,
            answer_reserve_s=settings.answer_reserve_ms / 1e3,
            history_messages=settings.history_messages,
        )
        STAGE_BUDGET_SECONDS.labels("affect").set(settings.affect_window_ms / 1e3)
        for stage in ("state", "history", "record"):
            STAGE_BUDGET_SECONDS.labels(stage).set(policy.state_deadline_s)
        memory = Memory(LastStates(), Transcripts())
        places = SessionPlaces(self._timer, queue=settings.session_queue, wait_s=settings.session_wait_ms / 1e3)
        placer = Placer(ports, policy, memory, self._directory, self._background)
        admission = Admission(settings.max_turns)
        self._turns = Turns(ports, policy, memory, admission, places, placer, self._background)
        # What waits on disk is worth waiting for the engine's connection, however long that takes.
        replayer = Replayer(self._spool, StateClient(self._channels[STATE_ENGINE], lambda: True))
        self._watchers = [asyncio.create_task(backends.watch(name), name=f"watch-{name}") for name in targets]
        self._watchers.append(asyncio.create_task(replayer.run(), name="replay"))
        if self._ring is not None:
            self._watchers.append(asyncio.create_task(self._ring.follow(), name="keys"))
        context = self._shown.context() if self._shown is not None else None
        if self._shown is not None and context is not None:
            self._watchers.append(asyncio.create_task(renewed_certificate(self._shown, context), name="certificate"))
        guard, access = Guard(settings.http_hosts), self._access
        faces = [
            operations(lambda: backends.states, self._snapshot, self._drain, access),
            telemetry_stream(self._snapshot, guard, self._streams, self._drain, access),
            conversations(self._conversations(guard, memory)),
            completions(self._completions(guard)),
            classification(ChargedHead(affect, access), affect.labels, guard),
            page(guard),
        ]
        self.app = create_app(faces, settings.cors_origins, access)
        self._http = HttpServer(self.app, settings.http, self._drain_s, context)
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
        if self._readings is not None:
            await self._readings.stop()
        await self._spool.close()
        await self._directory.close()
        if self._holdings is not None:
            await self._holdings.close()
        for channel in self._channels.values():
            await channel.close(None)

    async def Turn(self, request: gateway_pb2.TurnRequest, context: Any) -> AsyncIterator[gateway_pb2.TurnResponse]:
        """Run one turn."""
        deadline = current_deadline()
        if deadline is None:
            raise RuntimeError("a turn outside of a running server")
        async with aclosing(self._begin(request, context.invocation_metadata() or (), deadline.at)) as responses:
            async for response in responses:
                yield response

    async def GetTelemetrySnapshot(
        self, request: gateway_pb2.GetTelemetrySnapshotRequest, context: Any
    ) -> gateway_pb2.GetTelemetrySnapshotResponse:
        """Return what the gateway has seen lately."""
        return gateway_pb2.GetTelemetrySnapshotResponse(snapshot=self._snapshot())

    async def WatchTelemetry(
        self, request: gateway_pb2.WatchTelemetryRequest, context: Any
    ) -> AsyncIterator[gateway_pb2.WatchTelemetryResponse]:
        """Send it at an interval, until the client goes away, its deadline comes or the gateway goes down."""
        interval_s = telemetry_interval_s(request)
        while True:
            yield gateway_pb2.WatchTelemetryResponse(snapshot=self._snapshot())
            await self._drain.unless_begun(asyncio.sleep(interval_s))

    async def _begin(
        self, request: gateway_pb2.TurnRequest, metadata: Iterable[tuple[str, str | bytes]], deadline_at: float
    ) -> AsyncGenerator[gateway_pb2.TurnResponse, None]:
        """Run a turn for whichever face. `metadata`: headers, in lower case."""
        self._access.visitor()
        turn = turn_input(
            request,
            persona=self._settings.persona,
            window_s=self._settings.affect_window_ms / 1e3,
            trace_id=trace_id_of(metadata),
            deadline_at=deadline_at,
            now_ns=self._timer.now_ns(),
        )
        async with aclosing(self._run(turn)) as events:
            async for event in events:
                yield turn_response(event)

    async def _run(self, turn: TurnInput) -> AsyncGenerator[TurnEvent, None]:
        """Run a turn for whoever was let in, in its own name space."""
        if self._turns is None:
            raise RuntimeError("a turn outside of a running server")
        visitor = self._access.visitor()
        self._access.charge_turn()
        inside = replace(turn, session_id=visitor.inner(turn.session_id))
        async with aclosing(self._turns.run(inside)) as events:
            async for event in events:
                yield seen_event(event, visitor)

    async def _open_holdings(self, ring: KeyRing, engine: StatePort) -> Holdings:
        async def is_gone(session_id: str) -> bool:
            try:
                await engine.get_state(state_pb2.GetStateRequest(session_id=session_id), _ASK_S)
            except BackendFailure as failure:
                return failure.reason == "SESSION_NOT_FOUND"
            return False

        def limit_of(owner: str) -> int | None:
            key = ring.of_owner(owner)
            return key.limits.sessions if key is not None else None

        holdings = Holdings(self._holdings_file, self._timer, limit_of, is_gone)
        await holdings.open()
        return holdings

    def _completions(self, guard: Guard) -> Completions:
        settings, backends = self._settings, self._backends
        if backends is None:
            raise RuntimeError("the faces are put together last")

        def defaults() -> TurnDefaults:
            return TurnDefaults(
                persona=settings.persona,
                window_s=settings.affect_window_ms / 1e3,
                deadline_at=self._timer.monotonic() + settings.default_deadline_s,
                client_wins=settings.client_sampling == "client",
            )

        return Completions(self._run, lambda: backends.upstreams, defaults, guard, self._drain, self._timer)

    def _conversations(self, guard: Guard, memory: Memory) -> Conversations:
        def begin(
            request: gateway_pb2.TurnRequest, headers: Iterable[tuple[str, str]]
        ) -> AsyncGenerator[gateway_pb2.TurnResponse, None]:
            return self._begin(request, headers, self._timer.monotonic() + self._settings.default_deadline_s)

        access = self._access
        state = state_pb2_grpc.StateEngineServiceStub(self._channels[STATE_ENGINE])
        affect = affect_pb2_grpc.AffectHeadServiceStub(self._channels[AFFECT_HEAD])
        return Conversations(
            begin=begin,
            forget=lambda session_id: memory.forget(access.visitor().inner(session_id)),
            state=cast(state_pb2_grpc.StateEngineServiceStub, SeenEngine(state, access, self._holdings)),
            affect=cast(affect_pb2_grpc.AffectHeadServiceStub, SeenStub(affect, access, charges=True)),
            guard=guard,
            watchers=self._streams,
            drain=self._drain,
            clock=self._timer,
        )

    def _snapshot(self) -> gateway_pb2.TelemetrySnapshot:
        states = self._backends.states if self._backends is not None else {}
        upstreams = self._backends.upstreams if self._backends is not None else []
        visitor = self._access.visitor()
        seen = self._telemetry.snapshot(self._timer.now_ns(), states, upstreams, len(self._spool), visitor.may_see)
        return visitor.outward(seen)
