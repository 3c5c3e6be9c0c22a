"""The state engine's own metrics."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

from limbic.runtime.metrics import LATENCY_BUCKETS, at_zero

COMMIT_APPENDS = Histogram(
    "limbic_journal_commit_appends",
    "Appends that one commit made durable.",
    buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256, 512),
)
COMMIT_SECONDS = Histogram(
    "limbic_journal_commit_seconds", "Time of one transaction of the journal, fsync included.", buckets=LATENCY_BUCKETS
)
FAILURES = Counter(
    "limbic_journal_failures_total",
    "Calls that the journal's store failed, by what could not be done: read, written; corrupt where the store is damaged.",
    ["action"],
)
at_zero(FAILURES, action=["read", "written", "corrupt"])
QUEUE_DEPTH = Gauge("limbic_journal_queue_depth", "Appends that wait for the journal's writer.")
RECONNECTS = Counter(
    "limbic_journal_reconnects_total",
    "Connections to the database that were opened again, by what for.",
    ["connection"],
)
at_zero(RECONNECTS, connection=["reader", "writer", "heads", "notifications"])
FACTS = Counter("limbic_state_facts_total", "Facts recorded, by kind: session, turn, stimulus.", ["kind"])
EXPIRED = Counter("limbic_state_expired_sessions_total", "Sessions deleted because nobody had used them for long.")
FOREIGN_FACTS = Counter(
    "limbic_state_foreign_facts_total", "Facts that other engines recorded and that sessions in memory have taken in."
)
DUPLICATES = Counter("limbic_state_duplicates_total", "Calls that repeated what had been recorded before.", ["rpc"])
CACHED_SESSIONS = Gauge("limbic_state_cached_sessions", "Sessions whose state is in memory.")
SESSION_LOADS = Histogram(
    "limbic_state_session_load_seconds", "Time to rebuild a session from the journal.", buckets=LATENCY_BUCKETS
)
REFOLDS = Counter(
    "limbic_state_refolds_total", "Folds over so much that they were made in a thread, beside the calls that go on."
)
SNAPSHOTS = Counter(
    "limbic_state_snapshots_total",
    "Snapshots of sessions, by what became of them: kept, used, failed to be kept, or gone with their session before that; and those that "
    "were refused, by why: damaged, format, session, law.",
    ["outcome"],
)
at_zero(SNAPSHOTS, outcome=["kept", "used", "failed", "gone", "damaged", "format", "session", "law"])
STIMULUS_LATENESS = Histogram(
    "limbic_state_stimulus_lateness_seconds",
    "From the moment something happened until the engine learned of it.",
    buckets=LATENCY_BUCKETS,
)
