"""The affect head's metrics."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

from limbic.runtime.metrics import LATENCY_BUCKETS

QUEUE_DEPTH = Gauge("limbic_affect_queue_depth", "Utterances that wait for a worker.")
QUEUE_WAIT_SECONDS = Histogram(
    "limbic_affect_queue_wait_seconds", "Time from a request to the start of its computation.", buckets=LATENCY_BUCKETS
)
COMPUTE_SECONDS = Histogram(
    "limbic_affect_compute_seconds", "Time that a reading's computation took.", buckets=LATENCY_BUCKETS
)
_SHED = Counter("limbic_affect_shed_total", "Utterances refused without being read, by reason.", ["reason"])
SHED_QUEUE_FULL = _SHED.labels("queue_full")
SHED_DEADLINE = _SHED.labels("deadline")
_CANCELLED = Counter(
    "limbic_affect_cancelled_total",
    "Utterances given up because the caller had gone or the deadline had come, by how far they were.",
    ["stage"],
)
CANCELLED_QUEUED = _CANCELLED.labels("queued")
CANCELLED_RUNNING = _CANCELLED.labels("running")
WORKERS = Gauge("limbic_affect_workers", "Readings that can be computed at the same time.")
BUSY_WORKERS = Gauge("limbic_affect_workers_busy", "Readings that are being computed now.")
TRUNCATED = Counter("limbic_affect_truncated_total", "Readings whose text did not fit the model's window.")
