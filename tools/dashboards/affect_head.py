"""*Affect head*: how fast it reads, and what it could not read."""

from __future__ import annotations

from tools.dashboards.panels import RED, YELLOW, Board, Bound, Query, lines, quantile, quantiles, rate, spread

COMPUTE = "limbic_affect_compute_seconds"
WAIT = "limbic_affect_queue_wait_seconds"
RPC = "limbic_rpc_server_handling_seconds"

TWO_THREADS_S, ONE_THREAD_S = 0.005, 0.008
"""The design's numbers for the median of an utterance of about 20 tokens, through gRPC, by the head's threads."""


def affect_head() -> Board:
    """Return the dashboard."""
    board = Board("limbic-affect-head", "Limbic / Affect head", "How fast utterances are read, and which are not.")
    aims = [Bound(TWO_THREADS_S, YELLOW), Bound(ONE_THREAD_S, RED)]
    board.row(
        "Readings",
        lines(
            "Readings in a second",
            "Explanations are not counted: they go behind.",
            "ops",
            Query(f"sum by (instance) (rate({COMPUTE}_count[$__rate_interval]))", "{{instance}}"),
        ),
        spread("A reading's computation", "Without the wait for a worker.", COMPUTE),
        lines(
            "A reading's computation, quantiles", "Without the wait for a worker.", "s", *quantiles(COMPUTE, 0.5, 0.99)
        ),
        lines(
            "Classify, through gRPC",
            "What a caller waits. The lines: where p50 is to stay for an utterance of about 20 tokens, with two threads and with one.",
            "s",
            *quantiles(RPC, 0.5, 0.99, where='{grpc_method="Classify"}'),
            bounds=aims,
        ),
    )
    board.row(
        "Load",
        lines(
            "Workers",
            "When all are busy, utterances wait.",
            "short",
            Query("sum by (instance) (limbic_affect_workers_busy)", "busy, {{instance}}"),
            Query("sum by (instance) (limbic_affect_workers)", "there are, {{instance}}", dashed=True),
        ),
        lines(
            "Share of the workers' time in use",
            "Near 1 the queue grows without end.",
            "percentunit",
            Query(f"sum(rate({COMPUTE}_sum[$__rate_interval])) / sum(limbic_affect_workers)", "in use"),
            bounds=[Bound(0.8, YELLOW)],
        ),
        lines(
            "Waiting for a worker",
            "At `affect.queue` utterances are refused.",
            "short",
            Query("sum by (instance) (limbic_affect_queue_depth)", "{{instance}}"),
        ),
        lines(
            "Time in the queue",
            "From the request to the start of its computation.",
            "s",
            Query(quantile(0.5, WAIT), "p50"),
            Query(quantile(0.99, WAIT), "p99"),
        ),
    )
    board.row(
        "What was not read",
        lines(
            "Refused",
            "queue_full: too many waited. deadline: it had passed before a worker was free.",
            "ops",
            Query(rate("limbic_affect_shed_total", "reason"), "{{reason}}"),
            stacked=True,
        ),
        lines(
            "Given up",
            "The caller had gone or its time was up, while the utterance was queued or being computed.",
            "ops",
            Query(rate("limbic_affect_cancelled_total", "stage"), "{{stage}}"),
            stacked=True,
        ),
        lines(
            "Truncated",
            "The share of readings whose context did not fit the model's window.",
            "percentunit",
            Query(
                f"{rate('limbic_affect_truncated_total')} / sum(rate({COMPUTE}_count[$__rate_interval]))", "truncated"
            ),
            most=1,
        ),
    )
    return board
