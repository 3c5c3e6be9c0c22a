"""Writes down what a turn does while it does it."""

from __future__ import annotations

from collections.abc import Callable

from gateway.events import StageRecord, StageStatus, TraceRecord
from limbic.gateway.v1 import gateway_pb2
from limbic.llm.v1 import llm_pb2
from limbic.runtime.clock import Clock

OK = gateway_pb2.STAGE_STATUS_OK
TIMEOUT = gateway_pb2.STAGE_STATUS_TIMEOUT
ERROR = gateway_pb2.STAGE_STATUS_ERROR
SKIPPED = gateway_pb2.STAGE_STATUS_SKIPPED
PENDING = gateway_pb2.STAGE_STATUS_PENDING
CANCELLED = gateway_pb2.STAGE_STATUS_CANCELLED


class Stage:
    """One stage that has begun. `end` may be called once; later calls change nothing."""

    def __init__(self, name: str, start: float, deadline_s: float, finish: Callable[[Stage], None]) -> None:
        self.name = name
        self.start = start
        self.deadline_s = deadline_s
        self.end_at: float | None = None
        self.status: StageStatus = PENDING
        self.detail = ""
        self._finish = finish

    def end(self, status: StageStatus = OK, detail: str = "") -> None:
        """End the stage."""
        if self.end_at is None:
            self.status, self.detail = status, detail
            self._finish(self)


class Trace:
    """A turn's stages and what was missing.

    Args:
        clock: measures.
        started_at: moment of the monotonic clock at which the turn began.
        on_stage: told of each stage that has ended, also after the turn's own end.
        on_degraded: told of each part that is missing, with a word for metrics.
    """

    def __init__(
        self,
        clock: Clock,
        started_at: float,
        trace_id: str,
        turn_id: str,
        session_id: str,
        on_stage: Callable[[str, StageRecord], None],
        on_degraded: Callable[[str, str], None],
    ) -> None:
        self._clock = clock
        self._started_at = started_at
        self._trace_id = trace_id
        self._turn_id = turn_id
        self._session_id = session_id
        self._on_stage = on_stage
        self._on_degraded = on_degraded
        self._stages: list[Stage] = []
        self._degraded: dict[str, str] = {}
        self.started = llm_pb2.Started()
        self.attempts: tuple[llm_pb2.Attempt, ...] = ()

    def place(self, session_id: str, turn_id: str) -> None:
        """Name the turn anew, once it is known where it stands."""
        self._session_id, self._turn_id = session_id, turn_id

    def begin(self, name: str, deadline_s: float = 0.0) -> Stage:
        """Begin a stage that may take this many seconds; 0 for as long as it likes."""
        stage = Stage(name, self._clock.monotonic(), deadline_s, self._finished)
        self._stages.append(stage)
        return stage

    def degrade(self, part: str, label: str, sentence: str) -> None:
        """Write down that a part is missing. The first reason for a part stands."""
        if part not in self._degraded:
            self._degraded[part] = sentence
            self._on_degraded(part, label)

    @property
    def degraded(self) -> bool:
        """Whether some part was missing."""
        return bool(self._degraded)

    def cancel_open(self, names: tuple[str, ...]) -> None:
        """End those of the named stages that still go on, because the client went away."""
        for stage in self._stages:
            if stage.name in names:
                stage.end(CANCELLED)

    def record(self) -> TraceRecord:
        """Return what has been written down so far. Stages that still go on are pending."""
        return TraceRecord(
            trace_id=self._trace_id,
            turn_id=self._turn_id,
            session_id=self._session_id,
            stages=tuple(self._stage_record(stage) for stage in self._stages),
            degraded_reasons=tuple(self._degraded.values()),
            upstream=self.started.upstream,
            model=self.started.model,
            attempts=self.attempts,
            omitted_messages=self.started.omitted_messages,
        )

    def _finished(self, stage: Stage) -> None:
        stage.end_at = self._clock.monotonic()
        self._on_stage(self._trace_id, self._stage_record(stage))

    def _stage_record(self, stage: Stage) -> StageRecord:
        end_at = self._clock.monotonic() if stage.end_at is None else stage.end_at
        return StageRecord(
            stage.name,
            stage.start - self._started_at,
            end_at - stage.start,
            stage.status,
            stage.deadline_s,
            stage.detail,
        )
