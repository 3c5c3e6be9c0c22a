"""Stands for a turn's world: a clock that is set, a head and a model that can be held and can fail, a spool in memory."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from gateway.admission import Admission
from gateway.background import Background
from gateway.events import StageRecord, TurnEvent, TurnInput
from gateway.opening import Memory
from gateway.placing import Placer
from gateway.ports import BackendFailure, Fact, Ports, ReadingSeen, SpoolRefusedError, TurnPolicy, TurnSummary
from gateway.session_places import SessionPlaces
from gateway.states import LastStates
from gateway.transcripts import Transcripts
from gateway.turn import Turns
from limbic.affect.v1 import affect_pb2
from limbic.llm.v1 import llm_pb2
from tests.gateway.engine_model import EngineModel

ARRIVED_NS = 1_800_000_000_000_000_000
STARTED = 1_000.0
WINDOW_S = 0.6
POLICY = TurnPolicy(affect_deadline_s=30.0, state_deadline_s=0.25, answer_reserve_s=0.05, history_messages=200)
READING = affect_pb2.AffectReading(valence=0.8, intimacy=0.3, tension=-0.2, confidence=0.9)


async def settle() -> None:
    """Let everything happen that can happen without time or another event."""
    for _ in range(100):
        await asyncio.sleep(0)


async def until(condition: Callable[[], object], timeout_s: float = 10.0) -> None:
    """Wait for what another process or thread brings about."""
    async with asyncio.timeout(timeout_s):
        while not condition():  # noqa: ASYNC110 - nothing signals it to this loop
            await asyncio.sleep(0.005)


class ManualTimer:
    """A timer whose time is set."""

    def __init__(self) -> None:
        self._elapsed = 0.0
        self._alarms: list[tuple[float, asyncio.Future[None]]] = []

    def now_ns(self) -> int:
        return ARRIVED_NS + round(self._elapsed * 1e9)

    def monotonic(self) -> float:
        return STARTED + self._elapsed

    async def wait(self, future: asyncio.Future[Any], until: float) -> bool:
        if until > self.monotonic():
            alarm = asyncio.get_running_loop().create_future()
            self._alarms.append((until, alarm))
            await asyncio.wait({future, alarm}, return_when=asyncio.FIRST_COMPLETED)
        return future.done()

    async def advance(self, seconds: float) -> None:
        await settle()
        self._elapsed += seconds
        for at, alarm in self._alarms:
            if at <= self.monotonic() and not alarm.done():
                alarm.set_result(None)
        await settle()


class FakeHead:
    """Implements AffectPort. Answers at once, or when `release` is set, with `failure` if that is set."""

    def __init__(self) -> None:
        self.reading = READING
        self.labels = ["joy", "sadness"]
        self.failure: BackendFailure | None = None
        self.release: asyncio.Event | None = None
        self.requests: list[affect_pb2.ClassifyRequest] = []
        self.timeouts: list[float] = []

    async def classify(self, request: affect_pb2.ClassifyRequest, timeout_s: float) -> affect_pb2.AffectReading:
        self.requests.append(request)
        self.timeouts.append(timeout_s)
        if self.release is not None:
            await self.release.wait()
        if self.failure is not None:
            raise self.failure
        return self.reading


class FakeModel:
    """Implements LlmPort. Says `words`; waits for `release` before the word at `hold_at`; fails with `failure` at `fail_at`.

    Checks wait for `check_hold`, if it is set, and fail with `refusal`.
    """

    def __init__(self) -> None:
        self.words = ["Hello", " there", "."]
        self.hold_at: int | None = None
        self.release = asyncio.Event()
        self.failure: BackendFailure | None = None
        self.fail_at = 0
        self.refusal: BackendFailure | None = None
        self.check_hold: asyncio.Event | None = None
        self.checks: list[llm_pb2.GenerateRequest] = []
        self.requests: list[llm_pb2.GenerateRequest] = []
        self.timeouts: list[float] = []
        self.running = 0
        self.finished = 0

    async def check(self, request: llm_pb2.GenerateRequest, timeout_s: float) -> None:
        self.checks.append(request)
        if self.check_hold is not None:
            await self.check_hold.wait()
        if self.refusal is not None:
            raise self.refusal

    async def generate(
        self, request: llm_pb2.GenerateRequest, timeout_s: float
    ) -> AsyncGenerator[llm_pb2.GenerateResponse, None]:
        self.requests.append(request)
        self.timeouts.append(timeout_s)
        self.running += 1
        try:
            if self.failure is not None and self.fail_at < 0:
                raise self.failure
            yield llm_pb2.GenerateResponse(started=llm_pb2.Started(upstream="local", model="tiny", omitted_messages=1))
            for index, word in enumerate(self.words):
                if self.hold_at == index:
                    await self.release.wait()
                if self.failure is not None and self.fail_at == index:
                    raise self.failure
                yield llm_pb2.GenerateResponse(delta=llm_pb2.Delta(text=word))
            self.finished += 1
            yield llm_pb2.GenerateResponse(
                done=llm_pb2.Done(
                    finish_reason=llm_pb2.FINISH_REASON_STOP,
                    usage=llm_pb2.Usage(prompt_tokens=7, completion_tokens=3),
                    attempts=[llm_pb2.Attempt(upstream="local")],
                )
            )
        finally:
            self.running -= 1


class MemorySpool:
    """Implements SpoolPort."""

    def __init__(self) -> None:
        self.facts: list[Fact] = []
        self.full = False

    def holds(self, session_id: str) -> bool:
        return any(fact.session_id == session_id for fact in self.facts)

    async def append(self, fact: Fact) -> None:
        if self.full:
            raise SpoolRefusedError
        self.facts.append(fact)


class MemoryDirectory:
    """Implements DirectoryPort."""

    def __init__(self) -> None:
        self.pairs: dict[bytes, str] = {}

    async def find(self, digests: Sequence[bytes]) -> str | None:
        found = Counter(self.pairs[digest] for digest in digests if digest in self.pairs)
        session_id, shared = max(found.items(), key=lambda item: item[1], default=("", 0))
        return session_id if shared >= 2 else None

    async def note(self, session_id: str, digests: Sequence[bytes]) -> None:
        self.pairs.update(dict.fromkeys(digests, session_id))


@dataclass
class Watcher:
    """Implements Observer."""

    began: int = 0
    shed: int = 0
    summaries: list[TurnSummary] = field(default_factory=list)
    stages: list[StageRecord] = field(default_factory=list)
    readings: list[ReadingSeen] = field(default_factory=list)
    degraded: Counter[tuple[str, str]] = field(default_factory=Counter)

    def turn_began(self) -> None:
        self.began += 1

    def turn_shed(self) -> None:
        self.shed += 1

    def turn_ended(self, summary: TurnSummary) -> None:
        self.summaries.append(summary)

    def stage_ended(self, trace_id: str, stage: StageRecord) -> None:
        assert trace_id
        self.stages.append(stage)

    def reading_seen(self, seen: ReadingSeen) -> None:
        self.readings.append(seen)

    def part_degraded(self, part: str, label: str) -> None:
        self.degraded[part, label] += 1


class World:
    """Everything around turns."""

    def __init__(
        self,
        *,
        max_turns: int = 8,
        session_queue: int = 2,
        session_wait_s: float = 10.0,
        keeps_text: bool = True,
        policy: TurnPolicy = POLICY,
    ) -> None:
        self.engine = EngineModel(keeps_text=keeps_text)
        self.head = FakeHead()
        self.model = FakeModel()
        self.spool = MemorySpool()
        self.timer = ManualTimer()
        self.watcher = Watcher()
        self.background = Background()
        self.admission = Admission(max_turns)
        self.places = SessionPlaces(self.timer, queue=session_queue, wait_s=session_wait_s)
        self.directory = MemoryDirectory()
        self._policy = policy
        self._attempts = 0
        self.restart()

    def restart(self) -> None:
        """Forget what the gateway had in memory."""
        ports = Ports(self.engine, self.head, self.model, self.spool, self.timer, self.watcher)
        self.memory = Memory(LastStates(), Transcripts())
        placer = Placer(ports, self._policy, self.memory, self.directory, self.background)
        self.turns = Turns(ports, self._policy, self.memory, self.admission, self.places, placer, self.background)

    def input(self, text: str = "I missed you", **changes: Any) -> TurnInput:
        self._attempts += 1
        return replace(
            TurnInput(
                session_id="ada",
                session_is_new=False,
                turn_id="t1",
                parent_turn_id=None,
                text=text,
                persona="You are Ada.",
                affect_window_s=WINDOW_S,
                sampling=llm_pb2.Sampling(temperature=0.5),
                style="",
                temperament="",
                attempt_id=f"a{self._attempts}",
                trace_id="0af7651916cd43dd8448eb211c80319c",
                deadline_at=self.timer.monotonic() + 20.0,
            ),
            **changes,
        )

    def begin(self, turn: TurnInput | None = None, **changes: Any) -> Running:
        return Running(self.turns.run(turn or self.input(**changes)))

    async def say(self, text: str = "I missed you", **changes: Any) -> list[TurnEvent]:
        """Run a turn to its end, without time passing."""
        running = self.begin(self.input(text, **changes))
        await running.task
        await settle()
        return running.events


class Running:
    """A turn whose events are collected as they come."""

    def __init__(self, stream: AsyncGenerator[TurnEvent, None]) -> None:
        self.events: list[TurnEvent] = []
        self.task = asyncio.create_task(self._collect(stream))

    @property
    def kinds(self) -> list[str]:
        return [type(event).__name__ for event in self.events]

    async def _collect(self, stream: AsyncGenerator[TurnEvent, None]) -> None:
        try:
            async for event in stream:
                self.events.append(event)
        finally:
            await stream.aclose()
