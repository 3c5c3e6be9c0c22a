"""*State engine*: what is recorded, how soon it is durable, and what stands in memory."""

from __future__ import annotations

from tools.dashboards.panels import RED, YELLOW, Board, Bound, Query, lines, quantile, quantiles, rate, spread
from tools.objectives import Objectives

COMMITS = "limbic_journal_commit_seconds"
APPENDS = "limbic_journal_commit_appends"
RPC = "limbic_rpc_server_handling_seconds"
ENGINE = '{grpc_service="limbic.state.v1.StateEngineService"}'

SLOW_COMMIT_S = 0.1
"""As in the alert LimbicCommitsSlow."""


def state_engine(objectives: Objectives) -> Board:
    """Return the dashboard."""
    board = Board(
        "limbic-state-engine",
        "Limbic / State engine",
        "The journal, the sessions in memory, and what went wrong with them.",
    )
    board.row(
        "Records",
        lines(
            "Facts recorded",
            "Durable when they are counted.",
            "ops",
            Query(rate("limbic_state_facts_total", "kind"), "{{kind}}"),
            stacked=True,
        ),
        lines(
            "Repeated calls",
            "Calls that had been recorded before, and changed nothing: retries, and what the spool tells twice.",
            "ops",
            Query(rate("limbic_state_duplicates_total", "rpc"), "{{rpc}}"),
            stacked=True,
        ),
        lines(
            "From the moment of the words",
            "How long after something happened the engine learned of it: late readings, and what waited in the spool.",
            "s",
            *quantiles("limbic_state_stimulus_lateness_seconds", 0.5, 0.95, 0.99),
        ),
    )
    board.row(
        "The journal",
        spread("A commit's time", "One transaction with its fsync; many callers share it.", COMMITS),
        lines(
            "A commit's time, quantiles",
            "The line is where the alert begins.",
            "s",
            *quantiles(COMMITS, 0.5, 0.99),
            bounds=[Bound(SLOW_COMMIT_S, RED)],
        ),
        lines(
            "Appends in a commit",
            "More callers at once, more of them share one fsync.",
            "short",
            Query(f"sum(rate({APPENDS}_sum[$__rate_interval])) / sum(rate({APPENDS}_count[$__rate_interval]))", "mean"),
            Query(quantile(0.99, APPENDS), "p99"),
        ),
        lines(
            "Waiting for the writer",
            "Appends in the queue; at `state.write_queue` callers are refused with JOURNAL_BUSY.",
            "short",
            Query("sum by (instance) (limbic_journal_queue_depth)", "{{instance}}"),
        ),
    )
    board.row(
        "Answers",
        lines(
            "Calls by method, p99",
            f"As the callers see them. Within a turn the gateway waits 250 ms; all that it adds is to stay below "
            f"{objectives['overhead'].within_s} s.",
            "s",
            Query(quantile(0.99, RPC, "grpc_method", ENGINE), "{{grpc_method}}"),
        ),
        lines(
            "Calls that failed",
            "By code; INVALID_ARGUMENT and NOT_FOUND are the callers' own.",
            "reqps",
            Query(
                f'sum by (grpc_code) (rate({RPC}_count{{grpc_service="limbic.state.v1.StateEngineService",grpc_code!="OK"}}'
                "[$__rate_interval]))",
                "{{grpc_code}}",
            ),
            stacked=True,
        ),
        lines(
            "What the store failed",
            "corrupt: the file or the database is damaged. See the runbook.",
            "ops",
            Query(rate("limbic_journal_failures_total", "action"), "{{action}}"),
            bounds=[Bound(0.01, RED)],
        ),
        lines(
            "Connections opened again",
            "PostgreSQL only.",
            "ops",
            Query(rate("limbic_journal_reconnects_total", "connection"), "{{connection}}"),
            bounds=[Bound(0.01, YELLOW)],
        ),
    )
    board.row(
        "Sessions",
        lines(
            "Sessions in memory",
            "At `state.cached_sessions` the one that was used longest ago goes, and is read from the journal when it is next used.",
            "short",
            Query("sum by (instance) (limbic_state_cached_sessions)", "{{instance}}"),
        ),
        lines(
            "Sessions read from the journal",
            "How often, and how long the slowest took: it grows with the session.",
            "s",
            *quantiles("limbic_state_session_load_seconds", 0.5, 0.99),
        ),
        lines(
            "Caught up",
            "What other engines on the same database recorded and this one has taken in, and folds so large that a thread made them.",
            "ops",
            Query(rate("limbic_state_foreign_facts_total", "instance"), "facts of others, {{instance}}"),
            Query(rate("limbic_state_refolds_total", "instance"), "large folds, {{instance}}"),
        ),
        lines(
            "Snapshots, and sessions that expired",
            "Snapshots are a cache of what is in the journal.",
            "ops",
            Query(rate("limbic_state_snapshots_total", "outcome"), "snapshot {{outcome}}"),
            Query(rate("limbic_state_expired_sessions_total"), "sessions expired"),
        ),
    )
    return board
