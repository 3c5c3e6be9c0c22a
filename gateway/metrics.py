"""The gateway's metrics. Base units, no session in a label; exemplars carry the trace id."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

from limbic.runtime.metrics import LATENCY_BUCKETS, at_zero

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
at_zero(TURNS, outcome=["ok", "degraded", "cut", "failed", "refused", "cancelled"])
TURNS_IN_FLIGHT = Gauge("limbic_turns_in_flight", "Turns that are running now.")
TURNS_DEGRADED = Counter(
    "limbic_turns_degraded_total", "Turns in which a part was missing, by part and reason.", ["part", "reason"]
)
_AWAY = ["unavailable", "deadline_exceeded", "internal"]
at_zero(TURNS_DEGRADED, part=["state"], reason=[*_AWAY, "resource_exhausted", "slow", "waiting"])
at_zero(TURNS_DEGRADED, part=["affect"], reason=[*_AWAY, "resource_exhausted"])
at_zero(TURNS_DEGRADED, part=["history"], reason=[*_AWAY, "slow"])
at_zero(TURNS_DEGRADED, part=["journal"], reason=[*_AWAY, "resource_exhausted", "waiting"])
at_zero(TURNS_DEGRADED, part=["model"], reason=["fallback"])
AFFECT_WINDOW = Counter(
    "limbic_affect_window_total",
    "What became of readings: in_window, late, unavailable, shed, failed, already_felt.",
    ["result"],
)
at_zero(AFFECT_WINDOW, result=["in_window", "late", "unavailable", "shed", "failed", "already_felt"])
AFFECT_LATENESS_SECONDS = Histogram(
    "limbic_affect_lateness_seconds", "By how much late readings missed the window.", buckets=LATENCY_BUCKETS
)
SHED = Counter(
    "limbic_shed_total", "Turns that were not let in: as many were running as may, or their session was busy."
)
STAGE_BUDGET_SECONDS = Gauge(
    "limbic_turn_stage_budget_seconds", "What a stage may take by the settings, where they say.", ["stage"]
)
SPOOL_BYTES = Gauge("limbic_spool_bytes", "What the facts that wait take on disk.")
SPOOL_MAX_BYTES = Gauge("limbic_spool_max_bytes", "What waiting facts may take on disk; beyond it they are lost.")
SPOOL_FACTS = Gauge("limbic_spool_facts", "Facts that wait on disk for the state engine.")
SPOOL_REPLAYED = Counter("limbic_spool_replayed_total", "Facts that the state engine took from the disk.")
SPOOL_REJECTED = Counter(
    "limbic_spool_rejected_total", "Facts from the disk that the state engine refused; they are kept in a file."
)
SPOOL_REFUSED = Counter("limbic_spool_refused_total", "Facts that the disk could not keep. They are lost.")
BACKEND_SERVING = Gauge("limbic_backend_serving", "Whether a backend's last health answer was SERVING.", ["backend"])
FEED_DROPPED = Counter(
    "limbic_feed_dropped_total",
    "Readings that are missing in the feeds, by cause: queue_full, write_failed.",
    ["cause"],
)
at_zero(FEED_DROPPED, cause=["queue_full", "write_failed"])
EXPLANATIONS = Counter(
    "limbic_explanations_total", "Reasons that telemetry asked the head for, by result: told, shed, failed.", ["result"]
)
at_zero(EXPLANATIONS, result=["told", "shed", "failed"])
STREAMS_OPEN = Gauge("limbic_http_streams_open", "Streams over HTTP without an end that are open now.")
KEYS_LOADED = Gauge("limbic_gateway_keys", "Keys that the keys file holds; 0 also where nobody needs one.")
REFUSED = Counter(
    "limbic_gateway_refused_total",
    "Requests and calls that were not let in, by reason: KEY_REQUIRED, KEY_UNKNOWN, OPERATOR_ONLY, KEY_RATE_EXCEEDED.",
    ["reason"],
)
at_zero(REFUSED, reason=["KEY_REQUIRED", "KEY_UNKNOWN", "OPERATOR_ONLY", "KEY_RATE_EXCEEDED"])
