"""The living LLM's metrics."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

from limbic.runtime.metrics import LATENCY_BUCKETS, at_zero

FIRST_DELTA_SECONDS = Histogram(
    "limbic_llm_time_to_first_delta_seconds",
    "From the request to its first words, retries included.",
    buckets=LATENCY_BUCKETS,
)
TOKENS = Counter("limbic_llm_tokens_total", "Tokens, by type: prompt, cached (a part of prompt), completion.", ["type"])
at_zero(TOKENS, type=["prompt", "cached", "completion"])
ATTEMPTS = Counter(
    "limbic_llm_attempts_total",
    "Tries at an upstream, by outcome: ok, cancelled, too_long or a failure class.",
    ["upstream", "outcome"],
)
OUTCOMES = ("ok", "cancelled", "too_long", "transient", "overloaded", "rejected", "invalid", "cut")
RETRIES = Counter(
    "limbic_llm_retries_total", "Tries after the first one, by what the one before failed of.", ["reason"]
)
_STATUSES = [f"status_{status}" for status in (408, 425, 429, 500, 502, 503, 504)]
_BREAKS = ["broken_off", "connect_timeout", "empty_stream", "loading", "queue_full", "refused", "reset"]
at_zero(RETRIES, reason=[*_BREAKS, *_STATUSES])
FALLBACKS = Counter(
    "limbic_llm_fallbacks_total",
    "Replies begun by another upstream than the first, by who spoke and by what the first one failed of.",
    ["upstream", "reason"],
)
CIRCUIT_OPEN = Gauge("limbic_llm_circuit_open", "1 while an upstream is left alone, else 0.", ["upstream"])
QUEUE_DEPTH = Gauge("limbic_llm_queue_depth", "Replies that wait for the embedded model.")
CANCELLED = Counter(
    "limbic_llm_generation_cancelled_total",
    "Replies whose caller went away, by stage: before its first delta (waiting) or after it (generation).",
    ["stage"],
)
at_zero(CANCELLED, stage=["waiting", "generation"])
SESSION_SWITCHES = Counter(
    "limbic_llm_session_switches_total",
    "Times that another conversation than the one before spoke to the embedded model, by whether a kept state was restored for it "
    "(restored, not_restored).",
    ["outcome"],
)
at_zero(SESSION_SWITCHES, outcome=["restored", "not_restored"])
SESSION_STATE_BYTES = Gauge(
    "limbic_llm_session_state_bytes", "What the embedded model has computed of conversations that do not speak now."
)
SESSION_STATES_EVICTED = Counter(
    "limbic_llm_session_states_evicted_total", "Kept states that had to go because the bound was reached."
)
