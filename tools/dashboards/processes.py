"""*Processes*: what runs, what it takes, and how it answers."""

from __future__ import annotations

from tools.dashboards.panels import GREEN, RED, YELLOW, Board, Bound, Query, lines, number, quantile, rate

RPC = "limbic_rpc_server_handling_seconds"
GIB = 2**30


def processes() -> Board:
    """Return the dashboard."""
    board = Board(
        "limbic-processes", "Limbic / Processes", "What runs, how often it died, what it takes, and how it answers."
    )
    board.row(
        "Now",
        number(
            "Up",
            "1: it answers Prometheus.",
            "short",
            Query('min by (process) (up{job="limbic"})', "{{process}}"),
            [Bound(1, GREEN)],
            base=RED,
        ),
        number(
            "Serving, as the gateway finds it",
            "1: its health says SERVING.",
            "short",
            Query("min by (backend) (limbic_backend_serving)", "{{backend}}"),
            [Bound(1, GREEN)],
            base=RED,
        ),
        number(
            "Given up by supervisord",
            "1: it is not started any more.",
            "short",
            Query("max by (process) (limbic_supervised_given_up)", "{{process}}"),
            [Bound(1, RED)],
        ),
        number(
            "Version",
            "Of the running code.",
            "short",
            Query("count by (version, service) (limbic_build_info)", "{{service}} {{version}}"),
        ),
        height=5,
    )
    board.row(
        "Life and death",
        lines(
            "Ends",
            "exited: by itself, after it had been up. failed: before that. stopped: as it was told.",
            "short",
            Query(
                "sum by (process, how) (increase(limbic_supervised_exits_total[$__rate_interval]))",
                "{{process}} {{how}}",
            ),
        ),
        lines(
            "Starts",
            "Tries included.",
            "short",
            Query("sum by (process) (increase(limbic_supervised_starts_total[$__rate_interval]))", "{{process}}"),
        ),
        lines(
            "Up, as supervisord sees it",
            "1: it has been running for ten seconds or more.",
            "short",
            Query("min by (process) (limbic_supervised_up)", "{{process}}"),
            most=1,
        ),
        lines(
            "Age",
            "A line that falls to the ground is a restart.",
            "s",
            Query('time() - max by (process) (process_start_time_seconds{job="limbic"})', "{{process}}"),
        ),
    )
    board.row(
        "What they take",
        lines(
            "Memory",
            "Resident.",
            "bytes",
            Query('sum by (process) (process_resident_memory_bytes{job="limbic"})', "{{process}}"),
        ),
        lines(
            "Processor",
            "1 is one core.",
            "short",
            Query('sum by (process) (rate(process_cpu_seconds_total{job="limbic"}[$__rate_interval]))', "{{process}}"),
        ),
        lines(
            "Handles",
            "Files and connections, of those that it may have open.",
            "percentunit",
            Query('max by (process) (process_open_fds{job="limbic"} / process_max_fds{job="limbic"})', "{{process}}"),
            bounds=[Bound(0.8, RED)],
        ),
        lines(
            "Room on the disk",
            "Where each process keeps its data.",
            "bytes",
            Query("min by (process) (limbic_data_free_bytes)", "{{process}}"),
            bounds=[Bound(GIB, GREEN)],
            base=RED,
        ),
    )
    board.row(
        "gRPC",
        lines(
            "Calls by method and code",
            "Health checks and reflection are not counted.",
            "reqps",
            Query(
                f"sum by (process, grpc_method, grpc_code) (rate({RPC}_count[$__rate_interval]))",
                "{{process}} {{grpc_method}} {{grpc_code}}",
            ),
        ),
        lines(
            "Time of a call, p99",
            "Streams last as long as what they carry.",
            "s",
            Query(quantile(0.99, RPC, "process, grpc_method"), "{{process}} {{grpc_method}}"),
        ),
        lines(
            "Calls in hand",
            "Being handled now.",
            "short",
            Query("sum by (process) (limbic_rpc_server_in_flight)", "{{process}}"),
        ),
        lines(
            "Faults of ours",
            "Calls that were answered with INTERNAL; the log holds what happened.",
            "ops",
            Query(rate("limbic_internal_errors_total", "process, grpc_method"), "{{process}} {{grpc_method}}"),
            bounds=[Bound(0.01, RED)],
        ),
    )
    board.row(
        "Beside the turns",
        lines(
            "Clocks",
            "How far each process's clock is from that of Prometheus. More than 5 s raises an alert.",
            "s",
            Query("max by (process) (abs(limbic_clock_seconds - timestamp(limbic_clock_seconds)))", "{{process}}"),
            bounds=[Bound(5, RED)],
        ),
        lines(
            "Readings that the feeds lack",
            "queue_full: the disk was too slow. write_failed: it could not be written.",
            "ops",
            Query(rate("limbic_feed_dropped_total", "cause"), "{{cause}}"),
            bounds=[Bound(0.01, YELLOW)],
        ),
        lines(
            "Reasons for telemetry",
            "What became of the questions why a reading was as it was.",
            "ops",
            Query(rate("limbic_explanations_total", "result"), "{{result}}"),
        ),
    )
    return board
