"""What the gateway has seen lately, in memory: a rolling window of turns, the last readings, how the affect window was met."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence

from google.protobuf.duration_pb2 import Duration

from gateway.backends import BackendState
from gateway.events import StageRecord
from gateway.ports import ReadingSeen, TurnSummary
from limbic.gateway.v1 import gateway_pb2
from limbic.llm.v1 import llm_pb2
from limbic.state.v1 import state_pb2

WINDOW_TURNS = 256
READINGS = 20

_MISSED = frozenset(
    {
        gateway_pb2.AFFECT_STATUS_UNAVAILABLE,
        gateway_pb2.AFFECT_STATUS_SHED,
        gateway_pb2.AFFECT_STATUS_FAILED,
    }
)


def duration(seconds: float) -> Duration:
    """Return seconds as a protobuf duration."""
    message = Duration()
    message.FromNanoseconds(round(seconds * 1e9))
    return message


def quantile(values: Sequence[float], q: float) -> float:
    """Return the smallest value below or at which at least the share `q` of all lies. `values` must not be empty."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(q * len(ordered)) - 1)]


class Telemetry:
    """A rolling picture.

    Args:
        window_s: the configured affect window.
        keep_text: whether readings hold the words said.
    """

    def __init__(self, window_s: float, *, keep_text: bool) -> None:
        self._window_s = window_s
        self._keep_text = keep_text
        self._stages: dict[str, deque[float]] = {}
        self._lateness: deque[float] = deque(maxlen=WINDOW_TURNS)
        self._readings: deque[ReadingSeen] = deque(maxlen=READINGS)
        self._state: state_pb2.State | None = None
        self._hits = self._late = self._missed = 0
        self._running = self._total = self._degraded = 0

    def turn_began(self) -> None:
        """Count a turn in."""
        self._running += 1
        self._total += 1

    def turn_ended(self, summary: TurnSummary) -> None:
        """Count a turn out."""
        self._running -= 1
        self._degraded += bool(summary.trace.degraded_reasons)
        if summary.state is not None:
            self._state = summary.state

    def stage_ended(self, stage: StageRecord) -> None:
        """Take a stage into the window."""
        self._stages.setdefault(stage.name, deque(maxlen=WINDOW_TURNS)).append(stage.duration_s)

    def reading_seen(self, seen: ReadingSeen) -> None:
        """Take a reading in."""
        self._readings.appendleft(seen)
        if seen.status == gateway_pb2.AFFECT_STATUS_IN_WINDOW:
            self._hits += 1
        elif seen.status == gateway_pb2.AFFECT_STATUS_LATE:
            self._late += 1
            self._lateness.append(seen.lateness_s)
        elif seen.status in _MISSED:
            self._missed += 1

    def reading_explained(self, seen: ReadingSeen, explained: ReadingSeen) -> None:
        """Put a reading with its reason in the place of the one without, if that is still among the latest."""
        for index, one in enumerate(self._readings):
            if one is seen:
                self._readings[index] = explained

    def snapshot(
        self,
        now_ns: int,
        backends: dict[str, BackendState],
        upstreams: Sequence[llm_pb2.Upstream],
        spooled_facts: int,
        may_see: Callable[[str], bool] = lambda session_id: True,
    ) -> gateway_pb2.TelemetrySnapshot:
        """Return the picture as it is now. Readings and the state are of sessions that may be seen."""
        snapshot = gateway_pb2.TelemetrySnapshot(
            readings=[self.reading(seen) for seen in self._readings if may_see(seen.session_id)],
            latencies=[self._latency(name, durations) for name, durations in self._stages.items()],
            state=self._state if self._state is not None and may_see(self._state.session_id) else None,
            window=gateway_pb2.WindowStats(
                window=duration(self._window_s),
                hits=self._hits,
                late=self._late,
                missed=self._missed,
                lateness_p50=duration(quantile(self._lateness, 0.5)) if self._lateness else None,
            ),
            turns_in_flight=self._running,
            turns_total=self._total,
            turns_degraded_total=self._degraded,
            spooled_facts=spooled_facts,
            upstreams=upstreams,
        )
        snapshot.as_of.FromNanoseconds(now_ns)
        for name, backend in backends.items():
            status = snapshot.backends.add(name=name, serving=backend.serving is True)
            status.since.FromNanoseconds(backend.since_ns)
        return snapshot

    def reading(self, seen: ReadingSeen) -> gateway_pb2.TelemetryReading:
        """Return a reading as telemetry and feeds show it: without words unless the setting says so."""
        reading = gateway_pb2.TelemetryReading(
            turn_id=seen.turn_id,
            status=seen.status,
            reading=seen.reading,
            latency=duration(seen.latency_s),
            text=seen.text if self._keep_text else "",
        )
        if not self._keep_text and reading.HasField("reading"):
            # The reason is made of the words.
            reading.reading.ClearField("reasoning")
        reading.occurred_at.FromNanoseconds(seen.occurred_at_ns)
        return reading

    @staticmethod
    def _latency(name: str, durations: Sequence[float]) -> gateway_pb2.StageLatency:
        p50, p95, p99 = (duration(quantile(durations, q)) for q in (0.5, 0.95, 0.99))
        return gateway_pb2.StageLatency(stage=name, count=len(durations), p50=p50, p95=p95, p99=p99)
