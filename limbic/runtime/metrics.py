"""Prometheus metrics that every service has, and the buckets that all histograms choose from.

Names: prefix `limbic_`, base units, no session in a label. Labels are bound once where a call is hot.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterable
from itertools import product
from pathlib import Path

# The `_created` series would double every series; the library reads this once, when it is imported.
os.environ.setdefault("PROMETHEUS_DISABLE_CREATED_SERIES", "true")

from prometheus_client import Counter, Gauge, Histogram, Info, start_http_server

from limbic.runtime.tls import Certificates

LATENCY_BUCKETS = (
    0.0005, 0.001, 0.002, 0.003, 0.005, 0.008, 0.015, 0.02, 0.03, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 1.0, 1.5, 2.5, 5.0,
    10.0, 20.0, 40.0, 80.0,
)  # fmt: skip
"""Seconds. Each objective stands on an edge: 5 and 8 ms (head), 15 and 50 ms (gateway), 600 and 700 ms (affect window)."""

BUILD_INFO = Info("limbic_build", "Version of the running code.")
RPC_SERVER_SECONDS = Histogram(
    "limbic_rpc_server_handling_seconds",
    "Time to handle a gRPC call, by method and code; a method that does not exist counts as `other`.",
    ["grpc_service", "grpc_method", "grpc_code"],
    buckets=LATENCY_BUCKETS,
)
RPC_SERVER_IN_FLIGHT = Gauge("limbic_rpc_server_in_flight", "gRPC calls that are being handled now.")
INTERNAL_ERRORS = Counter(
    "limbic_internal_errors_total", "Faults of ours that a caller saw as INTERNAL.", ["grpc_method"]
)
CLOCK_SECONDS = Gauge("limbic_clock_seconds", "The process's own clock when it was asked, since the epoch.")
CLOCK_SECONDS.set_function(time.time)
DATA_FREE_BYTES = Gauge("limbic_data_free_bytes", "Room that is left where the process keeps its data.")


def at_zero(metric: Counter, **values: Iterable[str]) -> None:
    """Have a series for each combination of these label values from the start.

    A series that comes with its first event is one that Prometheus has never seen without it: no `rate` and no `increase` shows it.
    """
    for combination in product(*values.values()):
        metric.labels(**dict(zip(values, combination, strict=True)))


def watch_disk(folder: Path) -> None:
    """Show how much room is left where `folder` lies, or will lie."""

    def free() -> float:
        existing = next(path for path in (folder, *folder.parents) if path.exists())
        return float(shutil.disk_usage(existing).free)

    DATA_FREE_BYTES.set_function(free)


def serve_metrics(address: str, certificates: Certificates | None = None) -> int:
    """Serve `/metrics` at HOST:PORT in a thread of its own, for a service that has no HTTP server; return the port.

    With certificates it speaks TLS with holders of one of the same authority. They are read once.

    Raises:
        OSError: the port is taken.
    """
    host, _, port = address.rpartition(":")
    if certificates is None:
        server, _ = start_http_server(int(port), addr=host.strip("[]"))
    else:
        server, _ = start_http_server(
            int(port),
            addr=host.strip("[]"),
            certfile=str(certificates.cert),
            keyfile=str(certificates.key),
            client_cafile=str(certificates.ca),
            client_auth_required=True,
        )
    return int(server.server_port)
