"""Measures what length and number of sessions cost: loading, `GetState` and memory.

`python -m benchmarks.state_scale` writes a journal with a session of 10 turns, one of many turns, and many sessions of two turns, starts
the state engine on it as a process of its own, and asks for states through gRPC. Every turn has its words and a full reading (28 emotions).
`--turns 100000 --sessions 100000` is the size that the README speaks of; the defaults are a tenth of it, to be done within a minute or two.

The second table is about the long session alone: what it costs the engine, in processor time, to read it from its log, from its snapshot,
to feel something late at its first turn, to explain it and to fork it; and how long others waited for an answer meanwhile.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import sqlite3
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

import grpc
import psutil

from limbic.affect.v1 import affect_pb2
from limbic.runtime.channels import open_channel
from limbic.runtime.clock import NS_PER_S, SystemClock
from limbic.state.v1 import state_pb2, state_pb2_grpc
from services.state_engine.causes import AxisUncertainty, Emotions, HeadIdentity, Reading
from services.state_engine.journal.facts import Fact, Role, SessionFact, StimulusFact, TurnFact
from services.state_engine.journal.sqlite import SqliteJournal
from services.state_engine.library import TemperamentLibrary
from tests.state_engine.processes import engine_process, until_serving

CALLS = 3_000
LOADING_CALLERS = 16
WITHIN_S = 120.0
TURNS_PER_APPEND = 500

START_NS = time.time_ns() - 30 * 86_400 * NS_PER_S
READING = Reading(
    valence=-0.4173,
    intimacy=0.1894,
    tension=0.5527,
    confidence=0.8312,
    uncertainty=AxisUncertainty(0.21, 0.24, 0.26),
    emotions=Emotions(
        tuple(f"emotion_{number}" for number in range(28)),
        tuple(0.01 + number / 31 for number in range(28)),
        tuple(number > 26 for number in range(28)),
    ),
    head=HeadIdentity("minilm-v1", "Q4_0", "1"),
)


def turns(first: int, count: int) -> Iterator[Fact]:
    """Yield a chain of turns, ten seconds apart, each with its reading."""
    for number in range(first, first + count):
        said_ns = START_NS + number * 10 * NS_PER_S
        parent = f"turn-{number - 1}" if number else ""
        yield TurnFact(f"turn-{number}", parent, Role.USER, said_ns, said_ns, "That hurt more than I let on.", False)
        yield StimulusFact(f"turn-{number}", f"turn-{number}", said_ns, said_ns, READING)


async def write(path: Path, long: int, sessions: int) -> None:
    """Write the journal."""
    temperament = TemperamentLibrary().named("default")
    journal = SqliteJournal(path, SystemClock(), capacity=100_000)
    await journal.start()

    def opening(name: str) -> SessionFact:
        return SessionFact(name, temperament.name, temperament.digest, temperament.text, True, START_NS)

    def settled(revision: int | None) -> None:
        """Nobody waits."""

    await journal.append("short", [opening("short"), *turns(0, 10)], settled)
    await journal.append("long", [opening("long")], settled)
    for first in range(0, long, TURNS_PER_APPEND):
        await journal.append("long", list(turns(first, min(TURNS_PER_APPEND, long - first))), settled)
    for first in range(0, sessions, 5_000):
        some = [
            journal.append(f"s{number}", [opening(f"s{number}"), *turns(0, 2)], settled)
            for number in range(first, min(first + 5_000, sessions))
        ]
        await asyncio.gather(*some)
    await journal.stop()


class Asking:
    """Calls of `GetState`, timed, and the engine's memory."""

    def __init__(self, channel: grpc.aio.Channel, process: int) -> None:
        self._stub = state_pb2_grpc.StateEngineServiceStub(channel)
        self._process = psutil.Process(process)

    def memory_mib(self) -> float:
        """Return what the engine holds, in MiB."""
        return float(self._process.memory_info().rss) / 2**20

    async def one(self, session: str) -> float:
        """Return how long one call took, in seconds."""
        started = time.perf_counter()
        await self._stub.GetState(state_pb2.GetStateRequest(session_id=session), timeout=WITHIN_S)
        return time.perf_counter() - started

    async def row(self, what: str, session_of: Callable[[int], str], first_s: float, before_mib: float) -> None:
        """Print a row: how long the first call took, with its load; then quantiles, and the memory that came with it."""
        durations = [await self.one(session_of(number)) for number in range(CALLS)]
        cuts = statistics.quantiles(durations, n=100)
        print(
            f"{what:<28} {first_s * 1e3:>12,.0f} {cuts[49] * 1e3:>8.2f} {cuts[98] * 1e3:>8.2f} "
            f"{self.memory_mib() - before_mib:>12,.1f}",
            flush=True,
        )


async def measure(folder: Path, long: int, sessions: int) -> None:
    """Print the table."""
    started = time.perf_counter()
    await write(folder / "journal.sqlite3", long, sessions)
    print(f"written in {time.perf_counter() - started:.0f} s")
    capacity = {"LIMBIC_STATE__CACHED_SESSIONS": str(sessions + 10), "LIMBIC_STATE__MAX_DEADLINE_S": str(WITHIN_S)}
    async with (
        engine_process(folder, **capacity) as process,
        open_channel(f"unix:{folder / 'engine.socket'}") as channel,
    ):
        await until_serving(channel)
        asking = Asking(channel, process.pid)
        print(f"{'':<28} {'first, ms':>12} {'p50 ms':>8} {'p99 ms':>8} {'memory, MiB':>12}")
        for what, session in ((f"a session of {10} turns", "short"), (f"a session of {long:,} turns", "long")):
            before = asking.memory_mib()
            first = await asking.one(session)
            await asking.row(what, lambda number, name=session: name, first, before)  # type: ignore[misc]
        before, started = asking.memory_mib(), time.perf_counter()
        names = iter([f"s{number}" for number in range(sessions)])

        async def loader() -> None:
            for name in names:
                await asking.one(name)

        await asyncio.gather(*(loader() for _ in range(LOADING_CALLERS)))
        each = (time.perf_counter() - started) / sessions
        what = f"{sessions:,} sessions of 2 turns"
        await asking.row(what, lambda number: f"s{number * 7919 % sessions}", each, before)


class Costing:
    """What calls cost the engine, and what others felt of them."""

    def __init__(self, channel: grpc.aio.Channel, process: int) -> None:
        self.stub = state_pb2_grpc.StateEngineServiceStub(channel)
        self._process = psutil.Process(process)

    async def row(self, what: str, call: Awaitable[object]) -> None:
        """Print a row: processor time, wall time, and the longest that somebody waited who asked for the short session meanwhile."""
        before, started, longest = self._used_s(), time.perf_counter(), 0.0
        running = asyncio.ensure_future(call)
        while not running.done():
            asked = time.perf_counter()
            await self.stub.GetState(state_pb2.GetStateRequest(session_id="short"), timeout=WITHIN_S)
            longest = max(longest, time.perf_counter() - asked)
            await asyncio.wait({running}, timeout=0.01)
        await running
        used, elapsed = self._used_s() - before, time.perf_counter() - started
        memory = self._process.memory_info().rss / 2**20
        print(
            f"{what:<44} {used * 1e3:>10,.0f} {elapsed * 1e3:>10,.0f} {longest * 1e3:>10,.1f} {memory:>8,.0f}",
            flush=True,
        )

    def _used_s(self) -> float:
        times = self._process.cpu_times()
        return float(times.user + times.system)


@asynccontextmanager
async def costing(folder: Path) -> AsyncIterator[Costing]:
    """Run an engine for the length of a block, and have it go down as an operator would, so that it finishes what it has begun."""
    limits = {"LIMBIC_STATE__MAX_DEADLINE_S": str(WITHIN_S), "LIMBIC_STATE__FACTS_PER_SESSION": "10000000"}
    async with (
        engine_process(folder, **limits) as process,
        open_channel(f"unix:{folder / 'engine.socket'}") as channel,
    ):
        await until_serving(channel)
        costs = Costing(channel, process.pid)
        await costs.stub.GetState(state_pb2.GetStateRequest(session_id="short"), timeout=WITHIN_S)
        yield costs
        process.send_signal(signal.SIGTERM)
        await process.wait()


async def measure_long(folder: Path, long: int) -> None:
    """Print the second table."""
    state = state_pb2.GetStateRequest(session_id="long")
    print(f"\n{f'one session of {long:,} turns':<44} {'CPU, ms':>10} {'wall, ms':>10} {'others, ms':>10} {'MiB':>8}")
    async with costing(folder) as costs:
        await costs.row("the first question, from the log", costs.stub.GetState(state, timeout=WITHIN_S))
    async with costing(folder) as costs:
        await costs.row("the first question, from the snapshot", costs.stub.GetState(state, timeout=WITHIN_S))
        reading = affect_pb2.AffectReading(valence=-0.5, tension=0.5, confidence=0.8)
        late = state_pb2.Stimulus(stimulus_id="late", reading=reading)
        late.occurred_at.FromNanoseconds(START_NS + 1)
        add = state_pb2.AddStimulusRequest(session_id="long", turn_id="turn-0", stimulus=late)
        await costs.row("a late reading at the first turn", costs.stub.AddStimulus(add, timeout=WITHIN_S))
        explain = state_pb2.ExplainRequest(session_id="long")
        await costs.row("Explain at the tip", costs.stub.Explain(explain, timeout=WITHIN_S))
        fork = state_pb2.ForkRequest(session_id="long", new_session_id="fork")
        await costs.row("Fork at the tip", costs.stub.Fork(fork, timeout=WITHIN_S))


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--turns", type=int, default=10_000, help="turns of the long session")
    parser.add_argument("--sessions", type=int, default=10_000, help="sessions in memory at once")
    parser.add_argument("--folder", type=Path, help="where the journal is written; default: a temporary directory")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
        asyncio.run(measure(Path(name), arguments.turns, arguments.sessions))
        # Without the snapshot that the first table has left.
        with closing(sqlite3.connect(Path(name) / "journal.sqlite3")) as connection, connection:
            connection.execute("DELETE FROM snapshots")
        asyncio.run(measure_long(Path(name), arguments.turns))


if __name__ == "__main__":
    main()
