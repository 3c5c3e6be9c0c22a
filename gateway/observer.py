"""Hands what turns do to the metrics, the telemetry and the log."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from gateway import metrics
from gateway.events import StageRecord
from gateway.ports import ReadingSeen, TurnSummary
from gateway.telemetry import Telemetry
from limbic.gateway.v1 import gateway_pb2
from limbic.runtime.logs import get_logger, shown_id
from limbic.runtime.tracing import TimedSpan, add_children

_log = get_logger(__name__)

_FAILED = (gateway_pb2.STAGE_STATUS_ERROR, gateway_pb2.STAGE_STATUS_TIMEOUT)


class TurnObserver:
    """The observer of a running gateway. Writes one line a turn, without a word of what was said.

    Args:
        telemetry: keeps what was seen lately.
        on_reading: takes each reading further; returns at once.
    """

    def __init__(self, telemetry: Telemetry, on_reading: Callable[[ReadingSeen], None]) -> None:
        self._telemetry = telemetry
        self._on_reading = on_reading

    def turn_began(self) -> None:
        """Note that a turn was let in."""
        metrics.TURNS_IN_FLIGHT.inc()
        self._telemetry.turn_began()

    def turn_shed(self) -> None:
        """Note that a turn was not let in."""
        metrics.SHED.inc()

    def turn_ended(self, summary: TurnSummary) -> None:
        """Note how a turn has ended."""
        trace = summary.trace
        metrics.TURNS_IN_FLIGHT.dec()
        metrics.TURNS.labels(summary.outcome).inc()
        exemplar = {"trace_id": trace.trace_id}
        if summary.first_delta_s is not None:
            metrics.FIRST_DELTA_SECONDS.observe(summary.first_delta_s, exemplar)
        if summary.overhead_s is not None:
            metrics.OVERHEAD_SECONDS.observe(summary.overhead_s, exemplar)
        self._telemetry.turn_ended(summary)
        add_children(_spans(summary))
        _log.info(
            "turn",
            session_id=shown_id(trace.session_id),
            turn_id=shown_id(trace.turn_id),
            trace_id=trace.trace_id,
            outcome=summary.outcome,
            reason=summary.reason,
            total_s=round(summary.total_s, 4),
            first_delta_s=_rounded(summary.first_delta_s),
            overhead_s=_rounded(summary.overhead_s),
            stages={stage.name: round(stage.duration_s, 4) for stage in trace.stages},
            degraded=list(trace.degraded_reasons),
        )

    def stage_ended(self, trace_id: str, stage: StageRecord) -> None:
        """Note how long a stage took."""
        outcome = gateway_pb2.StageStatus.Name(stage.status).removeprefix("STAGE_STATUS_").lower()
        metrics.STAGE_SECONDS.labels(stage.name, outcome).observe(stage.duration_s, {"trace_id": trace_id})
        self._telemetry.stage_ended(stage)

    def reading_seen(self, seen: ReadingSeen) -> None:
        """Note what became of a reading."""
        result = gateway_pb2.AffectStatus.Name(seen.status).removeprefix("AFFECT_STATUS_").lower()
        metrics.AFFECT_WINDOW.labels(result).inc()
        if seen.status == gateway_pb2.AFFECT_STATUS_LATE:
            metrics.AFFECT_LATENESS_SECONDS.observe(seen.lateness_s)
        self._telemetry.reading_seen(seen)
        self._on_reading(seen)

    def part_degraded(self, part: str, label: str) -> None:
        """Note that a part was missing."""
        metrics.TURNS_DEGRADED.labels(part, label).inc()


def _spans(summary: TurnSummary) -> Iterator[TimedSpan]:
    """Yield the stages as spans. What they say in words stays out: a detail may come from elsewhere."""
    began_ns = time.time_ns() - round(summary.total_s * 1e9)
    for stage in summary.trace.stages:
        start_ns = began_ns + round(stage.start_s * 1e9)
        status = gateway_pb2.StageStatus.Name(stage.status).removeprefix("STAGE_STATUS_").lower()
        yield TimedSpan(
            stage.name,
            start_ns,
            start_ns + round(stage.duration_s * 1e9),
            failed=stage.status in _FAILED,
            attributes={"limbic.stage.status": status, "limbic.stage.deadline_s": stage.deadline_s},
        )


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 4)
