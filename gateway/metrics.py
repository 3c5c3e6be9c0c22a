"""The gateway's metrics. Base units, no session in a label; exemplars carry the trace id."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

from limbic.runtime.metrics import LATENCY_BUCKETS

STAGE_SECONDS = Histogram(
    "limbic_turn_stage_seconds", "Time that a stage of a turn took.", ["stage", "outcome"], buckets=LATENCY_BUCKETS
)
FIRST_DELTA_SECONDS = Histogram(
    "limbic_turn_first_delta_seconds", "From a turn's beginning to its first delta.", buckets=LATENCY_BUCKETS
)
OVERHEAD_SECONDS = Histogram(
    "limbic_gateway_overhead_seconds",
    "What the gateway and the state engine add to the first delta: it less the wait for the reading and the model's own time.",
    buckets=LATENCY_BUCKETS,
)
TURNS = Counter(
    "limbic_turns_total",
    "Turns that were let in, by outcome: ok, degraded, cut, failed, refused, cancelled.",
    ["outcome"],
)
TURNS_IN_FLIGHT = Gauge("limbic_turns_in_flight", "Turns that are running now.")
TURNS_DEGRADED = Counter(
    "limbic_turns_degraded_total", "Turns in which a part was missing, by part and reason.", ["part", "reason"]
)
AFFECT_WINDOW = Counter(
    "limbic_affect_window_total",
    "What became of readings: in_window, late, unavailable, shed, failed, already_felt.",
    ["result"],
)
AFFECT_LATENESS_SECONDS = Histogram(
    "limbic_affect_lateness_seconds", "By how much late readings missed the window.", buckets=LATENCY_BUCKETS
)
SHED = Counter("limbic_shed_total", "Turns that were not let in, because as many were running as may.")
SPOOL_FACTS = Gauge("limbic_spool_facts", "Facts that wait on disk for the state engine.")
SPOOL_REPLAYED = Counter("limbic_spool_replayed_total", "Facts that the state engine took from the disk.")
SPOOL_REJECTED = Counter(
    "limbic_spool_rejected_total", "Facts from the disk that the state engine refused; they are kept in a file."
)
SPOOL_REFUSED = Counter("limbic_spool_refused_total", "Facts that the disk could not keep. They are lost.")
BACKEND_SERVING = Gauge("limbic_backend_serving", "Whether a backend's last health answer was SERVING.", ["backend"])
