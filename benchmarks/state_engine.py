"""Measures the state engine: durable records per second beside an empty gRPC method, and the advance of one state.

`python -m benchmarks.state_engine` starts two servers as processes of their own, on Unix sockets in a temporary directory: the state engine
with its journal on disk, and a service whose only method answers with an empty message, behind the same runtime and interceptor. The same
load generator then drives both, in turns. Where Debian's PostgreSQL is installed, it does so again with a journal there: on a server of
this benchmark's own, on a Unix socket, with its defaults. A record is a `RecordTurn` with the words and a full reading (28 emotions),
acknowledged after its fsync. Callers write to sessions of their own, one call after the other.

Beside the rates stands what a call costs its server in processor time, which other work on the machine does not change as much.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import psutil

from limbic.affect.v1 import affect_pb2, affect_pb2_grpc
from limbic.runtime.channels import open_channel
from limbic.runtime.clock import SystemClock
from limbic.runtime.server import Service, run_service
from limbic.runtime.settings import AffectSettings, RuntimeSettings, StateSettings
from limbic.state.v1 import state_pb2, state_pb2_grpc
from services.state_engine.causes import Reading
from services.state_engine.library import TemperamentLibrary
from services.state_engine.server import build_service
from tests.state_engine.postgres import PostgresServer
from tests.state_engine.processes import until_serving

CALLERS = (1, 8, 64)
READY_WITHIN_S = 20.0

Call = Callable[[int, int], Awaitable[Any]]
"""Makes one call: the caller's number, and how many it has made before."""


class EmptyService(affect_pb2_grpc.AffectHeadServiceServicer):
    """A service whose `GetModelCard` takes an empty message and returns one."""

    full_name = "limbic.affect.v1.AffectHeadService"

    def register(self, server: grpc.aio.Server) -> None:
        """Add the handlers to a server."""
        affect_pb2_grpc.add_AffectHeadServiceServicer_to_server(self, server)

    async def start(self) -> None:
        """Nothing to load."""

    def drain(self) -> None:
        """Nothing to end."""

    async def stop(self) -> None:
        """Nothing to close."""

    async def GetModelCard(
        self, request: affect_pb2.GetModelCardRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> affect_pb2.GetModelCardResponse:
        """Return nothing."""
        return affect_pb2.GetModelCardResponse()


def serve(kind: str, folder: Path, journal_url: str) -> None:
    """Serve one of the two, until SIGTERM."""
    runtime = RuntimeSettings(lame_duck_s=0.0, log_level="error")
    listen = f"unix:{folder / kind}.socket"
    if kind == "empty":
        service: Service = EmptyService()
        run_service("benchmark-empty", service, runtime, AffectSettings(listen=listen, metrics=None))
    else:
        settings = StateSettings(listen=listen, metrics=None, journal_url=journal_url)
        run_service("benchmark-state", build_service(settings, SystemClock()), runtime, settings)


@contextmanager
def server(kind: str, folder: Path, journal_url: str = "") -> Iterator[tuple[str, psutil.Process]]:
    """Run one of the two in a process of its own; yield its address and the process."""
    command = [sys.executable, "-m", "benchmarks.state_engine", "--serve", kind, "--folder", str(folder)]
    command += ["--journal", journal_url]
    with subprocess.Popen(command) as process:
        try:
            yield f"unix:{folder / kind}.socket", psutil.Process(process.pid)
        finally:
            process.terminate()


class Measured:
    """Calls to one server, over several rounds.

    Args:
        server: its process.

    Attributes:
        rates: calls per second, by round.
        durations: of each call, in seconds.
    """

    def __init__(self, server: psutil.Process) -> None:
        self._server = server
        self._processor_s = 0.0
        self.rates: list[float] = []
        self.durations: list[float] = []

    @property
    def rate(self) -> float:
        """The middle round's calls per second."""
        return statistics.median(self.rates)

    @property
    def cost_us(self) -> float:
        """Processor time of the server for each call, in microseconds."""
        return self._processor_s / len(self.durations) * 1e6

    async def round(self, call: Call, callers: int, seconds: float) -> None:
        """Make calls for so long."""
        before = self._used_s()
        per_second, durations = await rate(call, callers, seconds)
        self._processor_s += self._used_s() - before
        self.rates.append(per_second)
        self.durations += durations

    def _used_s(self) -> float:
        times = self._server.cpu_times()
        return float(times.user + times.system)


async def rate(call: Call, callers: int, seconds: float) -> tuple[float, list[float]]:
    """Return calls per second, and each call's duration in seconds."""
    durations: list[float] = []
    end = time.perf_counter() + seconds

    async def caller(number: int) -> None:
        made = 0
        while (started := time.perf_counter()) < end:
            await call(number, made)
            durations.append(time.perf_counter() - started)
            made += 1

    started = time.perf_counter()
    await asyncio.gather(*(caller(number) for number in range(callers)))
    return len(durations) / (time.perf_counter() - started), durations


def full_reading() -> affect_pb2.AffectReading:
    """Return a reading as the default head sends it."""
    return affect_pb2.AffectReading(
        valence=-0.4173,
        intimacy=0.1894,
        tension=0.5527,
        confidence=0.8312,
        uncertainty=affect_pb2.AxisUncertainty(valence=0.21, intimacy=0.24, tension=0.26),
        emotions=[
            affect_pb2.Emotion(label=f"emotion_{number}", probability=0.01 + number / 31, active=number > 26)
            for number in range(28)
        ],
        head=affect_pb2.HeadIdentity(id="minilm-v1", quantization="Q4_0", calibration="1"),
    )


async def measure_records(folder: Path, seconds: float, rounds: int, journal_url: str) -> None:
    """Print the table of rates."""
    with (
        server("empty", folder) as (empty_address, empty_process),
        server("state", folder, journal_url) as (
            state_address,
            state_process,
        ),
    ):
        async with open_channel(empty_address) as empty_channel, open_channel(state_address) as state_channel:
            empty = affect_pb2_grpc.AffectHeadServiceStub(empty_channel)
            state = state_pb2_grpc.StateEngineServiceStub(state_channel)
            reading = full_reading()

            async def empty_call(caller: int, made: int) -> None:
                await empty.GetModelCard(affect_pb2.GetModelCardRequest())

            async def record(caller: int, made: int) -> None:
                turn = f"turn-{prefix}-{made}"
                stimulus = state_pb2.Stimulus(stimulus_id=turn, reading=reading)
                await state.RecordTurn(
                    state_pb2.RecordTurnRequest(
                        session_id=f"session-{caller}",
                        turn_id=turn,
                        text="That hurt more than I let on.",
                        stimuli=[stimulus],
                    )
                )

            ready = READY_WITHIN_S
            await until_serving(state_channel)
            await until_serving(empty_channel)
            await empty.GetModelCard(affect_pb2.GetModelCardRequest(), timeout=ready)
            for caller in range(max(CALLERS)):
                request = state_pb2.CreateSessionRequest(session_id=f"session-{caller}")
                await state.CreateSession(request, timeout=ready)
            print(
                f"{'callers':>8} {'records/s':>10} {'p50 ms':>8} {'p99 ms':>8} {'empty/s':>9} {'ratio':>6}"
                f"{'µs/record':>11} {'µs/empty':>9} {'ratio':>6}"
            )
            for callers in CALLERS:
                records, empties = Measured(state_process), Measured(empty_process)
                for number in range(rounds):
                    prefix = f"{callers}-{number}"
                    await empties.round(empty_call, callers, seconds)
                    await records.round(record, callers, seconds)
                cuts = statistics.quantiles(records.durations, n=100)
                print(
                    f"{callers:>8} {records.rate:>10,.0f} {cuts[49] * 1e3:>8.2f} {cuts[98] * 1e3:>8.2f} "
                    f"{empties.rate:>9,.0f} {records.rate / empties.rate:>6.2f}"
                    f"{records.cost_us:>11.0f} {empties.cost_us:>9.0f} {empties.cost_us / records.cost_us:>6.2f}"
                )


def measure_fsync(folder: Path, times: int = 100) -> float:
    """Return the mean time of one small write with fdatasync, in milliseconds: what one durable record costs without groups."""
    descriptor = os.open(folder / "fsync", os.O_CREAT | os.O_WRONLY, 0o600)
    started = time.perf_counter()
    for _ in range(times):
        os.write(descriptor, bytes(4096))
        os.fdatasync(descriptor)
    elapsed = time.perf_counter() - started
    os.close(descriptor)
    return elapsed / times * 1e3


def measure_advance(times: int = 20_000) -> dict[str, float]:
    """Return the time of each step of a state, in microseconds."""
    temperament = TemperamentLibrary().named("default")
    reading = Reading(valence=-0.4, intimacy=0.2, tension=0.5, confidence=0.8)
    state = temperament.impulse(reading)
    readout = temperament.readout

    def read() -> None:
        adapted = readout.adapted(state)
        readout.levels(adapted)
        readout.moods(adapted)

    steps: dict[str, Callable[[], object]] = {
        "appraise a reading": lambda: temperament.impulse(reading),
        "advance one state": lambda: temperament.dynamics.advance(state, 12.5),
        "read levels and moods": read,
    }
    results = {}
    for name, step in steps.items():
        started = time.perf_counter()
        for _ in range(times):
            step()
        results[name] = (time.perf_counter() - started) / times * 1e6
    return results


def main() -> None:
    """Run everything, or one of the servers."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--seconds", type=float, default=4.0, help="length of each measurement")
    parser.add_argument("--rounds", type=int, default=3, help="measurements of each kind, of which the median counts")
    parser.add_argument("--folder", type=Path, help="where the journal is written; default: a temporary directory")
    parser.add_argument("--journal", default="", help=argparse.SUPPRESS)
    parser.add_argument("--serve", choices=("empty", "state"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        serve(arguments.serve, arguments.folder, arguments.journal)
        return
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
        folder = Path(name)
        for step, microseconds in measure_advance().items():
            print(f"{step:<24} {microseconds:>8.1f} µs")
        print(f"{'write and fdatasync':<24} {measure_fsync(folder) * 1e3:>8.0f} µs\n")
        print("SQLite")
        url = f"sqlite:///{folder / 'journal.sqlite3'}"
        asyncio.run(measure_records(folder, arguments.seconds, arguments.rounds, url))
        if not PostgresServer.installed():
            print("\nPostgreSQL is not installed: not measured")
            return
        print("\nPostgreSQL")
        postgres = PostgresServer()
        try:
            asyncio.run(measure_records(folder, arguments.seconds, arguments.rounds, postgres.new_database()))
        finally:
            postgres.remove()


if __name__ == "__main__":
    main()
