"""What a turn costs, part by part, and what many people need: `python -m benchmarks.turn_cost`.

The four services run as they always do, with a model's server behind them that answers at once with a reply of ordinary length. Counted is
processor time, which other work on the machine hardly changes, and not how long a turn takes. From that follows what so many daily
users need: a model on paper, whose assumptions are this program's options.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import math
import os
import socket
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import grpc
import psutil
import rich
import uvicorn
from grpc_health.v1 import health_pb2, health_pb2_grpc
from rich.table import Table
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, StreamingResponse
from starlette.routing import Route

from limbic.gateway.v1 import gateway_pb2, gateway_pb2_grpc
from limbic.runtime.channels import open_channel

TEXT = "I really did not expect to hear from you again, but I am glad that you called."
DAY_S = 86_400
READY_S = 60.0
WARM_UP = 32
MODULES = {
    "gateway": "gateway",
    "state engine": "services.state_engine",
    "affect head": "services.affect_head",
    "living LLM": "services.living_llm",
}


@dataclass(frozen=True, slots=True)
class Cost:
    """What turns cost.

    Attributes:
        processor_s: processor time a turn, by part, in seconds.
        memory_bytes: resident memory, by part.
        journal_bytes: what a turn adds to the journal.
    """

    processor_s: Mapping[str, float]
    memory_bytes: Mapping[str, int]
    journal_bytes: float


async def serve_model(port: int, words: int) -> None:
    """Serve a model that says the same to everything, word by word and at once, until the process is ended."""
    chunk = 'data: {"choices":[{"index":0,"delta":{"content":" word"}}]}\n\n'
    last = 'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'

    async def reply() -> AsyncIterator[str]:
        for _ in range(words):
            yield chunk
        yield last

    async def complete(_: Request) -> StreamingResponse:
        return StreamingResponse(reply(), media_type="text/event-stream")

    async def models(_: Request) -> JSONResponse:
        return JSONResponse({"data": [{"id": "instant"}]})

    app = Starlette(
        routes=[Route("/v1/chat/completions", complete, methods=["POST"]), Route("/v1/models", models, methods=["GET"])]
    )
    await uvicorn.Server(uvicorn.Config(app, port=port, log_level="error", lifespan="off")).serve()


@contextlib.asynccontextmanager
async def processes(
    folder: Path, port: int, words: int
) -> AsyncIterator[tuple[grpc.aio.Channel, dict[str, psutil.Process]]]:
    """Start the services and the model's server; yield a channel to the gateway and the services' processes."""
    sockets = {section: f"unix:{folder}/{section}" for section in ("state", "affect", "llm", "gateway")}
    wanted = {f"LIMBIC_{section.upper()}__LISTEN": socket for section, socket in sockets.items()}
    wanted |= {f"LIMBIC_GATEWAY__{section.upper()}_TARGET": sockets[section] for section in ("state", "affect", "llm")}
    wanted |= {f"LIMBIC_{section}__METRICS": "" for section in ("STATE", "AFFECT", "LLM")}
    wanted |= {
        "LIMBIC_GATEWAY__HTTP": f"unix:{folder}/http",
        "LIMBIC_RUNTIME__DATA_DIR": str(folder / "var"),
        "LIMBIC_RUNTIME__LOGS_DIR": str(folder / "logs"),
        "LIMBIC_STATE__JOURNAL_URL": f"sqlite:///{folder / 'journal.sqlite3'}",
        "LIMBIC_LLM__UPSTREAM__URL": f"http://127.0.0.1:{port}/v1",
    }
    environment = {name: value for name, value in os.environ.items() if not name.startswith("LIMBIC_")} | wanted
    commands = {"model": ["benchmarks.turn_cost", "--serve", str(port), "--words", str(words)]}
    commands |= {name: [module] for name, module in MODULES.items()}
    started = {
        name: await asyncio.create_subprocess_exec(
            sys.executable, "-m", *command, env=environment, stdout=asyncio.subprocess.DEVNULL
        )
        for name, command in commands.items()
    }
    try:
        for section in sockets:
            async with open_channel(sockets[section]) as channel:
                await _serving(channel)
        async with open_channel(sockets["gateway"]) as channel:
            yield channel, {name: psutil.Process(started[name].pid) for name in MODULES}
    finally:
        for process in reversed(started.values()):
            process.terminate()
            await process.wait()


async def _serving(channel: grpc.aio.Channel) -> None:
    stub = health_pb2_grpc.HealthStub(channel)
    async with asyncio.timeout(READY_S):
        while True:
            answer = await stub.Check(health_pb2.HealthCheckRequest(), wait_for_ready=True)
            if answer.status == health_pb2.HealthCheckResponse.SERVING:
                return
            await asyncio.sleep(0.1)


async def converse(channel: grpc.aio.Channel, session_id: str, turns: int) -> None:
    """Say something so many times in one conversation.

    Raises:
        RuntimeError: a turn was degraded, so that it did not cost what it should.
    """
    stub = gateway_pb2_grpc.GatewayServiceStub(channel)
    for _ in range(turns):
        done = gateway_pb2.Done()
        async for event in stub.Turn(gateway_pb2.TurnRequest(session_id=session_id, text=TEXT), timeout=60):
            done = event.done
        if done.trace.degraded:
            raise RuntimeError(f"a turn was degraded: {'; '.join(done.trace.degraded_reasons)}")


async def measure(turns: int, callers: int, words: int) -> Cost:
    """Run the turns, shared among callers that each have a conversation, and count."""
    with tempfile.TemporaryDirectory(prefix="limbic-") as directory:
        folder = Path(directory)
        async with processes(folder, _free_port(), words) as (channel, services):

            def processor() -> dict[str, float]:
                times = {name: service.cpu_times() for name, service in services.items()}
                return {name: time.user + time.system for name, time in times.items()}

            warm_up, each = WARM_UP // callers + 1, math.ceil(turns / callers)
            await asyncio.gather(*(converse(channel, f"w{n}", warm_up) for n in range(callers)))
            before = processor()
            await asyncio.gather(*(converse(channel, f"c{n}", each) for n in range(callers)))
            spent = {name: (after - before[name]) / (each * callers) for name, after in processor().items()}
            memory = {name: service.memory_info().rss for name, service in services.items()}
        # Only now: an engine that ends puts its write-ahead log into the file.
        written = (folder / "journal.sqlite3").stat().st_size
        return Cost(spent, memory, written / ((warm_up + each) * callers))


def _free_port() -> int:
    with contextlib.closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def report(cost: Cost, arguments: argparse.Namespace) -> None:
    """Print what a turn costs and what so many users need."""
    table = Table(title=f"A turn, {arguments.turns} turns, replies of {arguments.words} words")
    for column in ("part", "processor time", "turns a second and core", "memory"):
        table.add_column(column, justify="left" if column == "part" else "right")
    for name, spent in cost.processor_s.items():
        table.add_row(name, f"{spent * 1e3:.1f} ms", f"{1 / spent:.0f}", f"{cost.memory_bytes[name] / 2**20:.0f} MiB")
    total = sum(cost.processor_s.values())
    table.add_row("all", f"{total * 1e3:.1f} ms", f"{1 / total:.0f}", "")
    rich.print(table)
    rich.print(f"journal: {cost.journal_bytes:.0f} bytes a turn")

    a_day = arguments.users * arguments.turns_a_day
    peak = a_day / DAY_S * arguments.peak
    needs = Table(
        title=f"{arguments.users:,} daily users, {arguments.turns_a_day} turns each, peak {arguments.peak} times the mean"
    )
    for column in ("what", "at the peak"):
        needs.add_column(column, justify="left" if column == "what" else "right")
    needs.add_row("turns a second", f"{peak:,.0f}")
    for name, spent in cost.processor_s.items():
        needs.add_row(f"cores for the {name}, kept below {arguments.load:.0%}", f"{peak * spent / arguments.load:.1f}")
    needs.add_row("durable records a second (words and reply)", f"{2 * peak:,.0f}")
    needs.add_row("journal a day", f"{a_day * cost.journal_bytes / 2**30:.0f} GiB")
    needs.add_row("words a second from the model", f"{peak * arguments.words:,.0f}")
    rich.print(needs)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=400)
    parser.add_argument("--callers", type=int, default=4)
    parser.add_argument("--words", type=int, default=60, help="of a reply")
    parser.add_argument("--users", type=int, default=1_000_000)
    parser.add_argument("--turns-a-day", type=int, default=30)
    parser.add_argument("--peak", type=float, default=3.0, help="the busiest hour against the mean")
    parser.add_argument("--load", type=float, default=0.6, help="share of a core that may be used")
    parser.add_argument("--serve", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve is not None:
        asyncio.run(serve_model(arguments.serve, arguments.words))
        return
    report(asyncio.run(measure(arguments.turns, arguments.callers, arguments.words)), arguments)


if __name__ == "__main__":
    main()
