"""`limbic monitor`: what the gateway sees, as it sees it: scores and emotions above, reasons below."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Annotated

import grpc
import typer
from google.protobuf.duration_pb2 import Duration
from google.protobuf.json_format import MessageToJson
from rich.console import Console
from rich.live import Live

from limbic.cli import words
from limbic.cli.engine import connected, gateway_key, settings_or_exit
from limbic.cli.monitor_screen import MonitorScreen, NewReadings
from limbic.client import bearer
from limbic.gateway.v1 import gateway_pb2, gateway_pb2_grpc
from limbic.runtime.errors import failure_of
from limbic.supervision.processes import GATEWAY

REDRAWS_PER_S = 4
STREAM_S = 600.0
"""A stream ends after this long and is begun again: the longest deadline that the gateway grants."""
RETRY_S = 1.0
ONCE_S = 5.0


@dataclass(frozen=True, slots=True)
class Away:
    """The gateway does not answer. `reason`: in a sentence."""

    reason: str


def monitor(
    once: Annotated[bool, typer.Option("--once", help="Show what there is and end.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object (TelemetrySnapshot) a line.")] = False,
    interval: Annotated[float, typer.Option(help="Seconds between two looks.", min=0.2, max=60.0)] = 1.0,
) -> None:
    """Watch readings, levels and reasons as they come; into a pipe, one line for each reading. Ctrl-C ends."""
    settings = settings_or_exit()
    target = GATEWAY.local(settings)
    metadata = bearer(gateway_key(settings))
    with connected(target, "gateway", certified=False) as channel:
        stub = gateway_pb2_grpc.GatewayServiceStub(channel)
        try:
            if once:
                answer = stub.GetTelemetrySnapshot(
                    gateway_pb2.GetTelemetrySnapshotRequest(), timeout=ONCE_S, metadata=metadata
                )
                _show_once(answer.snapshot, target, as_json=as_json)
                return
            seen = follow(stub, f"gateway at {target}", interval, metadata, time.sleep)
            if as_json:
                _print_json(seen)
            elif sys.stdout.isatty():
                _draw(seen, target)
            else:
                _print_lines(seen)
        except KeyboardInterrupt:
            return
        except BrokenPipeError:
            # Whoever read has seen enough; Python would complain once more when it flushes at its end.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def follow(
    stub: gateway_pb2_grpc.GatewayServiceStub,
    who: str,
    interval_s: float,
    metadata: tuple[tuple[str, str], ...],
    sleep: Callable[[float], None],
) -> Iterator[gateway_pb2.TelemetrySnapshot | Away]:
    """Yield the telemetry for ever: again after the gateway was away, which is said once each time.

    Args:
        stub: the gateway's.
        who: what it is called in messages.
        interval_s: between two snapshots.
        metadata: goes with each call; holds the key, if there is one.
        sleep: waits before the next try.
    """
    request = gateway_pb2.WatchTelemetryRequest(interval=_duration(interval_s))
    told = ""
    while True:
        try:
            for answer in stub.WatchTelemetry(request, timeout=STREAM_S, metadata=metadata):
                told = ""
                yield answer.snapshot
        except grpc.RpcError as error:
            failure = failure_of(error)
            if failure.code is grpc.StatusCode.DEADLINE_EXCEEDED:
                continue
            if (reason := words.failure(failure, who)) != told:
                told = reason
                yield Away(reason)
        sleep(RETRY_S)


def _draw(seen: Iterator[gateway_pb2.TelemetrySnapshot | Away], target: str) -> None:
    screen = MonitorScreen(target)
    # A screen of its own is drawn anew as a whole, so that it fits again after the window has changed its size.
    with Live(screen, console=Console(highlight=False), screen=True, refresh_per_second=REDRAWS_PER_S):
        for one in seen:
            if isinstance(one, Away):
                screen.lose(one.reason)
            else:
                screen.take(one)


def _print_lines(seen: Iterator[gateway_pb2.TelemetrySnapshot | Away]) -> None:
    readings = NewReadings()
    for one in seen:
        if isinstance(one, Away):
            typer.echo(one.reason, err=True)
            continue
        for line in readings.lines(one):
            typer.echo(line)
        sys.stdout.flush()


def _print_json(seen: Iterator[gateway_pb2.TelemetrySnapshot | Away]) -> None:
    for one in seen:
        if isinstance(one, Away):
            typer.echo(one.reason, err=True)
        else:
            typer.echo(_json(one))
            sys.stdout.flush()


def _show_once(snapshot: gateway_pb2.TelemetrySnapshot, target: str, *, as_json: bool) -> None:
    if as_json:
        typer.echo(_json(snapshot))
        return
    if not sys.stdout.isatty():
        for line in NewReadings().lines(snapshot):
            typer.echo(line)
        return
    screen = MonitorScreen(target)
    screen.take(snapshot)
    Console(highlight=False).print(screen)


def _json(snapshot: gateway_pb2.TelemetrySnapshot) -> str:
    return MessageToJson(
        snapshot,
        preserving_proto_field_name=True,
        always_print_fields_with_no_presence=True,
        indent=None,
        ensure_ascii=False,
    )


def _duration(seconds: float) -> Duration:
    message = Duration()
    message.FromNanoseconds(round(seconds * 1e9))
    return message
