"""How long the embedded model takes to its first words, at the start and deep in a conversation: `python -m benchmarks.living_llm`.

Two living LLMs run as they always do, in processes of their own; this one talks to them over gRPC. With the one, turns 2 to 6 of a
conversation are held, with the other turns 48 to 52, one turn here and one turn there, so that whatever else the machine does falls on
both alike. The person says the same five sentences in both. Once the person takes a moment before answering, as people do, which is
when the model reads ahead; once they do not.

With `--server` the model does not speak in the living LLM but in a real server that speaks the OpenAI protocol, llama-cpp-python's own, one
for each of the two. It does not read ahead, and keeps the prompt that it computed last.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import rich
from grpc_health.v1 import health_pb2, health_pb2_grpc
from rich.table import Table

from benchmarks._llama_cpp_server import llama_cpp_server
from limbic.llm.v1 import llm_pb2, llm_pb2_grpc
from limbic.runtime.channels import open_channel
from limbic.runtime.server import run_service
from limbic.runtime.settings import GatewaySettings, LlmSettings, RuntimeSettings, UpstreamSettings
from limbic.state.v1 import state_pb2
from services.living_llm.assembly import make_upstreams
from services.living_llm.server import LivingLlmService

LINES = (
    "I had a long day at work.",
    "My boss changed the plan again and I had to redo half of it.",
    "I walked home through the park and it rained.",
    "What would you do on a free evening?",
    "Maybe I will cook something warm, like soup.",
)
FELT = llm_pb2.Expression(
    levels=[state_pb2.Level(name="oxytocin", value=55.0, baseline=40.0, band=state_pb2.BAND_SURGING)]
)
REPLY = "Oh, that sounds like a lot. What happened then?"
EARLY, LATE, MEASURED = 2, 48, 5
"""The first turn that is measured of a young and of an old conversation, and how many are measured of each."""
YOUNG, OLD = (f"{first} to {first + MEASURED - 1}" for first in (EARLY, LATE))
CONTEXT_TOKENS = 4096
READY_S = 120.0


@dataclass(frozen=True, slots=True)
class Turn:
    """One turn: seconds to the first delta, and the prompt's tokens, all of them and those that had to be computed."""

    first_delta_s: float
    prompt_tokens: int
    fresh_tokens: int


def serve(target: str, url: str) -> None:
    """Serve the embedded model, or the server at a URL, at an address until SIGTERM."""
    upstream = UpstreamSettings(url=url, context_tokens=CONTEXT_TOKENS if url else 0)
    settings = LlmSettings(listen=target, metrics=None, upstream=upstream, context_tokens=CONTEXT_TOKENS)
    service = LivingLlmService(settings, make_upstreams(settings, GatewaySettings().persona))
    run_service("living-llm", service, RuntimeSettings(), settings)


@asynccontextmanager
async def living_llm(url: str = "") -> AsyncIterator[Any]:
    """Start the living LLM with the embedded model, or with the server at a URL, and yield a stub once it serves."""
    with tempfile.TemporaryDirectory(prefix="limbic-") as directory:
        target = f"unix:{directory}/llm"
        # As supervisord.conf has it.
        environment = os.environ | {"OMP_WAIT_POLICY": "passive"}
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "benchmarks.living_llm",
            "--serve",
            target,
            "--url",
            url,
            env=environment,
            stdout=asyncio.subprocess.DEVNULL,
        )
        try:
            async with open_channel(target) as channel:
                await _ready(channel)
                yield llm_pb2_grpc.LivingLlmServiceStub(channel)
        finally:
            process.terminate()
            await process.wait()


async def _ready(channel: grpc.aio.Channel) -> None:
    check: Any = health_pb2_grpc.HealthStub(channel).Check
    async with asyncio.timeout(READY_S):
        while True:
            answer = await check(health_pb2.HealthCheckRequest(), timeout=READY_S, wait_for_ready=True)
            if answer.status == health_pb2.HealthCheckResponse.SERVING:
                return
            await asyncio.sleep(0.02)


class Conversation:
    """One conversation, of which the turns before `turn` have been said already."""

    def __init__(self, stub: Any, turn: int) -> None:
        self._stub = stub
        self._turn = turn
        self._messages: list[llm_pb2.Message] = []
        for number in range(1, turn):
            self._said(state_pb2.ROLE_USER, LINES[number % len(LINES)])
            self._said(state_pb2.ROLE_ASSISTANT, REPLY)

    async def say(self) -> Turn:
        """Hold the next turn."""
        self._said(state_pb2.ROLE_USER, LINES[self._turn % len(LINES)])
        request = llm_pb2.GenerateRequest(
            persona=GatewaySettings().persona,
            messages=self._messages,
            expression=FELT,
            sampling=llm_pb2.Sampling(seed=self._turn),
        )
        self._turn += 1
        began, first_delta_s, text, usage = time.perf_counter(), 0.0, "", llm_pb2.Usage()
        async for response in self._stub.Generate(request, timeout=120.0):
            if response.HasField("delta"):
                first_delta_s = first_delta_s or time.perf_counter() - began
                text += response.delta.text
            usage = response.done.usage
        self._said(state_pb2.ROLE_ASSISTANT, text)
        return Turn(first_delta_s, usage.prompt_tokens, usage.prompt_tokens - usage.cached_tokens)

    def _said(self, role: state_pb2.Role.ValueType, text: str) -> None:
        self._messages.append(llm_pb2.Message(role=role, text=text))


@asynccontextmanager
async def with_server(threads: int) -> AsyncIterator[Any]:
    """Start a real server and the living LLM in front of it, and yield a stub."""
    with tempfile.TemporaryDirectory(prefix="limbic-") as directory:
        log = Path(directory) / "log"
        async with (
            llama_cpp_server(log, context_tokens=CONTEXT_TOKENS, threads=threads) as server,
            living_llm(server.url) as stub,
        ):
            yield stub


async def measure(rounds: int, pause_s: float, server: bool) -> dict[str, list[Turn]]:
    """Hold young and old conversations in turn."""
    found: dict[str, list[Turn]] = {"1, right after the start": [], YOUNG: [], OLD: []}
    threads = LlmSettings().threads
    async with (
        with_server(threads) if server else living_llm() as one,
        with_server(threads) if server else living_llm() as other,
    ):
        for stub in (one, other):
            found["1, right after the start"].append(await Conversation(stub, 1).say())
        for _ in range(rounds):
            # Both had another conversation before: the turn before the first one that is measured brings this one in.
            young, old = Conversation(one, EARLY - 1), Conversation(other, LATE - 1)
            await young.say()
            await old.say()
            for _ in range(MEASURED):
                await asyncio.sleep(pause_s)
                found[YOUNG].append(await young.say())
                await asyncio.sleep(pause_s)
                found[OLD].append(await old.say())
    return found


def report(found: dict[str, list[Turn]], pause_s: float) -> None:
    """Print what was found."""
    table = Table(title=f"Time to the first delta, the person answers after {pause_s:g} s")
    for column in ("turn", "p50 (ms)", "best (ms)", "prompt tokens", "of those computed"):
        table.add_column(column, justify="left" if column == "turn" else "right")
    for what, turns in found.items():
        table.add_row(
            what,
            f"{statistics.median(turn.first_delta_s for turn in turns) * 1e3:.0f}",
            f"{min(turn.first_delta_s for turn in turns) * 1e3:.0f}",
            f"{statistics.median(turn.prompt_tokens for turn in turns):.0f}",
            f"{statistics.median(turn.fresh_tokens for turn in turns):.0f}",
        )
    rich.print(table)
    median = {what: statistics.median(turn.first_delta_s for turn in turns) for what, turns in found.items()}
    best = {what: min(turn.first_delta_s for turn in turns) for what, turns in found.items()}
    rich.print(f"old against young: p50 {median[OLD] / median[YOUNG]:.2f}, best {best[OLD] / best[YOUNG]:.2f}")


def main() -> None:
    """Read the arguments and run."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument(
        "--pauses", type=float, nargs="+", default=[2.0, 0.0], help="seconds until the person answers; one run for each"
    )
    parser.add_argument("--rounds", type=int, default=3, help="young and old conversations of each run")
    parser.add_argument("--server", action="store_true", help="through a real server instead of the embedded model")
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    parser.add_argument("--url", default="", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        serve(arguments.serve, arguments.url)
        return
    rich.print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    for pause_s in arguments.pauses:
        report(asyncio.run(measure(arguments.rounds, pause_s, arguments.server)), pause_s)


if __name__ == "__main__":
    main()
