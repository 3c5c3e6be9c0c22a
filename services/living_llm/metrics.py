"""The living LLM's metrics."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

from limbic.runtime.metrics import LATENCY_BUCKETS

FIRST_DELTA_SECONDS = Histogram(
    "limbic_llm_time_to_first_delta_seconds",
    "From the request to its first words, retries included.",
    buckets=LATENCY_BUCKETS,
)
TOKENS = Counter("limbic_llm_tokens_total", "Tokens, by type: prompt, cached (a part of prompt), completion.", ["type"])
ATTEMPTS = Counter(
    "limbic_llm_attempts_total",
    "Tries at an upstream, by outcome: ok, cancelled or a failure class.",
    ["upstream", "outcome"],
)
RETRIES = Counter(
    "limbic_llm_retries_total", "Tries after the first one, by what the one before failed of.", ["reason"]
)
CIRCUIT_OPEN = Gauge("limbic_llm_circuit_open", "1 while an upstream is left alone, else 0.", ["upstream"])
QUEUE_DEPTH = Gauge("limbic_llm_queue_depth", "Replies that wait for the embedded model.")
CANCELLED = Counter(
    "limbic_llm_generation_cancelled_total",
    "Replies whose caller went away, by stage: before its first delta (waiting) or after it (generation).",
    ["stage"],
)
SESSION_SWITCHES = Counter(
    "limbic_llm_session_switches_total",
    "Times that another conversation than the one before spoke to the embedded model, by whether a kept state was restored for it "
    "(restored, not_restored).",
    ["outcome"],
)
SESSION_STATE_BYTES = Gauge(
    "limbic_llm_session_state_bytes", "What the embedded model has computed of conversations that do not speak now."
)
SESSION_STATES_EVICTED = Counter(
    "limbic_llm_session_states_evicted_total", "Kept states that had to go because the bound was reached."
)
