"""What the gateway adds to a turn: `python -m benchmarks.gateway`.

Three processes: this one asks, the gateway runs as it always does, and the backends answer at once with fixed messages. So the time to
the first delta, as the client sees it, less the wait for the reading and the model's own time is what the gateway adds, including its two
calls to the state engine and the way to the client. The breakdown comes from the traces that the turns bring along.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import rich
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from rich.table import Table

from limbic.affect.v1 import affect_pb2, affect_pb2_grpc
from limbic.gateway.v1 import gateway_pb2, gateway_pb2_grpc
from limbic.llm.v1 import llm_pb2, llm_pb2_grpc
from limbic.runtime.channels import ServerOptions, open_channel
from limbic.state.v1 import state_pb2, state_pb2_grpc

TEXT = "I really did not expect to hear from you again, but I am glad that you called."
WORDS = ("Hello", " there", ",", " I", " am", " glad", " too", ".")
WARM_UP = 50
READY_S = 30.0
HORMONES = ("dopamine", "serotonin", "cortisol", "oxytocin", "noradrenaline")


class _Engine(state_pb2_grpc.StateEngineServiceServicer):
    """Keeps the tip of each conversation and nothing else."""

    def __init__(self) -> None:
        self._tips: dict[str, str] = {}

    def _state(self, session_id: str) -> state_pb2.State:
        state = state_pb2.State(session_id=session_id, turn_id=self._tips.get(session_id, ""))
        for name in HORMONES:
            state.levels.add(name=name, value=55.0, baseline=50.0, band=state_pb2.BAND_STEADY)
        return state

    async def GetState(self, request: Any, context: Any) -> Any:
        return state_pb2.GetStateResponse(state=self._state(request.session_id))

    async def RecordTurn(self, request: Any, context: Any) -> Any:
        self._tips[request.session_id] = request.turn_id
        return state_pb2.RecordTurnResponse(state=self._state(request.session_id))


class _Head(affect_pb2_grpc.AffectHeadServiceServicer):
    """Reads the same into everything."""

    def __init__(self) -> None:
        self._reading = affect_pb2.AffectReading(valence=0.6, intimacy=0.3, tension=-0.2, confidence=0.8)
        for number in range(28):
            self._reading.emotions.add(label=f"emotion-{number}", probability=number / 28)

    async def Classify(self, request: Any, context: Any) -> Any:
        return affect_pb2.ClassifyResponse(reading=self._reading)


class _Model(llm_pb2_grpc.LivingLlmServiceServicer):
    """Says the same to everything."""

    async def CheckGenerate(self, request: Any, context: Any) -> Any:
        return llm_pb2.CheckGenerateResponse()

    async def GetModel(self, request: Any, context: Any) -> Any:
        return llm_pb2.GetModelResponse()

    async def Generate(self, request: Any, context: Any) -> AsyncIterator[llm_pb2.GenerateResponse]:
        yield llm_pb2.GenerateResponse(started=llm_pb2.Started(upstream="instant", model="none"))
        for word in WORDS:
            yield llm_pb2.GenerateResponse(delta=llm_pb2.Delta(text=word))
        yield llm_pb2.GenerateResponse(done=llm_pb2.Done(finish_reason=llm_pb2.FINISH_REASON_STOP))


async def serve_backends(target: str) -> None:
    """Serve all three backends at one address until the process is ended."""
    server = grpc.aio.server(options=ServerOptions().arguments())
    state_pb2_grpc.add_StateEngineServiceServicer_to_server(_Engine(), server)
    affect_pb2_grpc.add_AffectHeadServiceServicer_to_server(_Head(), server)
    llm_pb2_grpc.add_LivingLlmServiceServicer_to_server(_Model(), server)
    # It says SERVING from the start.
    health_pb2_grpc.add_HealthServicer_to_server(health.aio.HealthServicer(), server)  # type: ignore[attr-defined]  # the stubs lack it
    server.add_insecure_port(target)
    await server.start()
    await server.wait_for_termination()


@dataclass(frozen=True, slots=True)
class Turn:
    """One turn, in seconds: until the first delta, what the gateway added to that, and its stages."""

    first_delta_s: float
    added_s: float
    stages: dict[str, float] = field(default_factory=dict)


@asynccontextmanager
async def processes() -> AsyncIterator[grpc.aio.Channel]:
    """Start the backends and a gateway, and yield a channel to it. Both are ended afterwards."""
    with tempfile.TemporaryDirectory(prefix="limbic-") as directory:
        backends, gateway = f"unix:{directory}/backends", f"unix:{directory}/gateway"
        wanted = {
            "LIMBIC_GATEWAY__LISTEN": gateway,
            "LIMBIC_GATEWAY__HTTP": f"unix:{directory}/http",
            "LIMBIC_GATEWAY__STATE_TARGET": backends,
            "LIMBIC_GATEWAY__AFFECT_TARGET": backends,
            "LIMBIC_GATEWAY__LLM_TARGET": backends,
            "LIMBIC_RUNTIME__DATA_DIR": str(Path(directory) / "var"),
        }
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("LIMBIC_")}
        commands = [["-m", "benchmarks.gateway", "--serve", backends], ["-m", "gateway"]]
        started = [
            await asyncio.create_subprocess_exec(
                sys.executable, *command, env=inherited | wanted, stdout=asyncio.subprocess.DEVNULL
            )
            for command in commands
        ]
        try:
            async with open_channel(gateway) as channel:
                await _ready(channel)
                yield channel
        finally:
            for process in reversed(started):
                process.terminate()
                await process.wait()


async def _ready(channel: grpc.aio.Channel) -> None:
    check: Any = health_pb2_grpc.HealthStub(channel).Check
    end = time.monotonic() + READY_S
    while True:
        answer = await check(health_pb2.HealthCheckRequest(), timeout=READY_S, wait_for_ready=True)
        if answer.status == health_pb2.HealthCheckResponse.SERVING:
            return
        if time.monotonic() > end:
            raise TimeoutError("the gateway does not serve")
        await asyncio.sleep(0.1)


async def run_turns(channel: grpc.aio.Channel, turns: int, session_id: str) -> list[Turn]:
    """Run turns of one conversation, one after the other."""
    stub: Any = gateway_pb2_grpc.GatewayServiceStub(channel)
    found = []
    for _ in range(turns):
        began, first_delta_at = time.perf_counter(), 0.0
        done = gateway_pb2.Done()
        async for event in stub.Turn(gateway_pb2.TurnRequest(session_id=session_id, text=TEXT), timeout=30.0):
            if not first_delta_at and event.HasField("delta"):
                first_delta_at = time.perf_counter()
            done = event.done
        if done.trace.degraded:
            raise RuntimeError(f"a turn was degraded: {'; '.join(done.trace.degraded_reasons)}")
        found.append(_turn(first_delta_at - began, done.trace))
    return found


def _turn(first_delta_s: float, trace: gateway_pb2.Trace) -> Turn:
    begin = {stage.name: stage.start.ToNanoseconds() / 1e9 for stage in trace.stages}
    length = {stage.name: stage.duration.ToNanoseconds() / 1e9 for stage in trace.stages}
    # The head and the state engine work at the same time: the wait for the reading is what comes after the state.
    affect_wait_s = max(0.0, begin["affect"] + length["affect"] - begin["state"] - length["state"])
    return Turn(first_delta_s, first_delta_s - affect_wait_s - length["first_delta"], length)


def percentile(values: Sequence[float], share: float) -> float:
    """Return a percentile in milliseconds."""
    return statistics.quantiles(values, n=1000, method="inclusive")[round(share * 1000) - 1] * 1e3


async def measure(turns: int, clients: int) -> list[Turn]:
    """Run the turns, shared among clients that each wait for their answer."""
    async with processes() as channel:
        await run_turns(channel, WARM_UP, "warm-up")
        per_client = max(1, turns // clients)
        batches = await asyncio.gather(*(run_turns(channel, per_client, f"c{number}") for number in range(clients)))
    return [turn for batch in batches for turn in batch]


def report(turns: Sequence[Turn], clients: int) -> None:
    """Print what was found."""
    table = Table(title=f"A turn through the gateway, {len(turns)} turns, {clients} at a time (milliseconds)")
    for column in ("what", "p50", "p95", "p99"):
        table.add_column(column, justify="left" if column == "what" else "right")
    rows = {
        "first delta": [turn.first_delta_s for turn in turns],
        "added by the gateway": [turn.added_s for turn in turns],
    }
    for name in turns[0].stages:
        rows[f"  {name}"] = [turn.stages[name] for turn in turns]
    for what, values in rows.items():
        table.add_row(what, *(f"{percentile(values, share):.2f}" for share in (0.5, 0.95, 0.99)))
    rich.print(table)


def main() -> None:
    """Read the arguments and run."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--turns", type=int, default=1_000, help="turns of each measurement")
    parser.add_argument(
        "--clients", type=int, nargs="+", default=[1, 8], help="turns at a time, one measurement for each"
    )
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        asyncio.run(serve_backends(arguments.serve))
        return
    rich.print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    for clients in arguments.clients:
        report(asyncio.run(measure(arguments.turns, clients)), clients)


if __name__ == "__main__":
    main()
