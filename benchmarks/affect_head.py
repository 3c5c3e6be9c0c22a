"""How fast the affect head reads: `python -m benchmarks.affect_head`.

Latency of an utterance of about 20 tokens, bare (llama.cpp alone), in process (tokenizer, decoding and all) and through gRPC from
another process over loopback, and of the same encoder in int8 through ONNX Runtime (a process of its own too: its threads spin); and the
throughput of two workers against one, with eight callers that each wait for their answer. Bare and in-process readings alternate, so
that whatever else the machine does falls on both alike.
"""

from __future__ import annotations

import argparse
import asyncio
import ctypes
import json
import os
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import grpc
import llama_cpp
import rich
from grpc_health.v1 import health_pb2, health_pb2_grpc
from rich.table import Table

from limbic.affect.v1 import affect_pb2, affect_pb2_grpc
from limbic.runtime.channels import open_channel
from limbic.runtime.clock import SystemClock
from limbic.runtime.deadline import Deadline
from limbic.runtime.llama import AbortFlag, load_model
from limbic.runtime.models import ModelFile, find_model
from services.affect_head.encoder import EncoderHead
from services.affect_head.head import Utterance
from services.affect_head.pool import ReaderPool
from training.cli import COMMITTED_HEAD

TEXTS = (
    "I really did not expect to hear from you again, but I am glad that you called.",
    "Why do you always have to make everything about yourself? I am so tired of this.",
    "Thank you for sitting with me last night, it helped more than you know, truly.",
    "The train leaves at nine tomorrow, so please bring the tickets and your passport along.",
    "Stop pretending that you care about me, you never did and you never will, okay?",
    "I got the job! I still can't believe it, we have to celebrate this weekend, right?",
)
CALLERS = 8
WARM_UP = 20


@dataclass(frozen=True, slots=True)
class Latency:
    """Seconds per reading, of many."""

    samples: Sequence[float]

    def percentile(self, share: float) -> float:
        """Return the value below which this share of the samples lies, in milliseconds."""
        ordered = sorted(self.samples)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))] * 1e3


class BareEncoder:
    """llama.cpp alone: token ids in, `llama_encode`, nothing else."""

    def __init__(self, model: Any, threads: int) -> None:
        params = llama_cpp.llama_context_default_params()
        params.n_ctx = params.n_batch = params.n_ubatch = 512
        params.n_seq_max = 1
        params.n_threads = params.n_threads_batch = threads
        params.embeddings = True
        params.flash_attn_type = llama_cpp.LLAMA_FLASH_ATTN_TYPE_DISABLED
        self._context = llama_cpp.llama_init_from_model(model, params)
        self._vocab = llama_cpp.llama_model_get_vocab(model)
        self._marks = (ctypes.c_int8 * 512)(*[1] * 512)

    def tokenize(self, text: str) -> Any:
        """Return the token ids as a C array."""
        data = text.encode()
        room = (llama_cpp.llama_token * 512)()
        count = llama_cpp.llama_tokenize(self._vocab, data, len(data), room, len(room), True, False)
        return (llama_cpp.llama_token * count)(*room[:count])

    def encode(self, tokens: Any) -> None:
        """Compute the outputs."""
        batch = llama_cpp.llama_batch(
            n_tokens=len(tokens),
            token=ctypes.cast(tokens, llama_cpp.llama_token_p),
            logits=ctypes.cast(self._marks, ctypes.POINTER(ctypes.c_int8)),
        )
        if status := llama_cpp.llama_encode(self._context, batch):
            raise RuntimeError(f"llama_encode returned {status}")

    def close(self) -> None:
        """Free the context."""
        llama_cpp.llama_free(self._context)


@dataclass(frozen=True, slots=True)
class InProcess:
    """What is measured in this process, and the texts' tokens."""

    bare: Latency
    head: Latency
    tokens: Sequence[Sequence[int]]


def measure_in_process(model: ModelFile, threads: int, readings: int) -> InProcess:
    """Read the texts through llama.cpp alone and through the head, in turn."""
    pointer = load_model(model.path)
    bare = BareEncoder(pointer, threads)
    head = EncoderHead(model.path, sha256="", threads=threads)
    reader = head.open_reader()
    tokens = [bare.tokenize(text) for text in TEXTS]
    utterances = [Utterance(text) for text in TEXTS]
    alone, whole = list[float](), list[float]()
    for number in range(readings + WARM_UP):
        text = number % len(TEXTS)
        alone.append(_timed(bare.encode, tokens[text]))
        whole.append(_timed(reader.read, utterances[text], AbortFlag()))
    reader.close()
    head.close()
    bare.close()
    llama_cpp.llama_model_free(pointer)
    return InProcess(Latency(alone[WARM_UP:]), Latency(whole[WARM_UP:]), [list(each) for each in tokens])


def measure_onnx(tokens: Sequence[Sequence[int]], threads: int, readings: int) -> Latency:
    """Read the same tokens through ONNX Runtime."""
    command = [
        sys.executable,
        "-m",
        "benchmarks._onnx_peer",
        str(COMMITTED_HEAD),
        str(threads),
        str(readings + WARM_UP),
    ]
    result = subprocess.run(command, input=json.dumps(tokens), capture_output=True, text=True, check=True)
    return Latency(json.loads(result.stdout)[WARM_UP:])


def _timed(function: Callable[..., object], *arguments: object) -> float:
    started = time.perf_counter()
    function(*arguments)
    return time.perf_counter() - started


async def measure_pool(model: ModelFile, workers: int, readings: int) -> float:
    """Return readings per second of the worker pool in this process, with callers that wait for their answers."""
    head = EncoderHead(model.path, sha256="", threads=1)
    readers = [head.open_reader() for _ in range(workers)]
    pool = ReaderPool(readers, queue_limit=CALLERS, expected_cost_s=0.01, clock=SystemClock())

    async def read(text: str) -> None:
        await pool.read(Utterance(text), Deadline.after(60))

    rate = await _closed_loop(read, readings)
    await asyncio.to_thread(pool.close)
    head.close()
    return rate


async def _closed_loop(read: Callable[[str], Any], readings: int) -> float:
    async def caller(number: int, count: int) -> None:
        for turn in range(count):
            await read(TEXTS[(number + turn) % len(TEXTS)])

    await asyncio.gather(*(caller(number, WARM_UP // CALLERS + 1) for number in range(CALLERS)))
    each = readings // CALLERS
    started = time.perf_counter()
    await asyncio.gather(*(caller(number, each) for number in range(CALLERS)))
    return each * CALLERS / (time.perf_counter() - started)


@asynccontextmanager
async def serving(model: ModelFile, **settings: int) -> AsyncIterator[affect_pb2_grpc.AffectHeadServiceAsyncStub]:
    """Run the service in a process of its own, and yield a client of it."""
    listen, metrics = _free_address(), _free_address()
    wanted: dict[str, object] = {"model": model.path, "listen": listen, "metrics": metrics, **settings}
    environment = {name: value for name, value in os.environ.items() if not name.startswith("LIMBIC_")}
    environment |= {f"LIMBIC_AFFECT__{name.upper()}": str(value) for name, value in wanted.items()}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "services.affect_head", env=environment, stdout=asyncio.subprocess.DEVNULL
    )
    try:
        async with open_channel(listen) as channel:
            watch = health_pb2_grpc.HealthStub(channel).Watch(
                health_pb2.HealthCheckRequest(), wait_for_ready=True, timeout=60
            )
            async for response in watch:
                if response.status == health_pb2.HealthCheckResponse.SERVING:
                    break
            watch.cancel()
            yield affect_pb2_grpc.AffectHeadServiceStub(channel)
    finally:
        process.terminate()
        await process.wait()


def _free_address() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


async def measure_grpc(model: ModelFile, threads: int, readings: int) -> tuple[Latency, Latency]:
    """Return the latency of `Classify`, and of a call that computes nothing, one call after the other."""
    full, empty = list[float](), list[float]()
    async with serving(model, threads=threads) as stub:
        for number in range(readings + WARM_UP):
            request = affect_pb2.ClassifyRequest(text=TEXTS[number % len(TEXTS)])
            full.append(await _timed_call(stub.Classify(request)))
            empty.append(await _timed_call(stub.GetModelCard(affect_pb2.GetModelCardRequest())))
    return Latency(full[WARM_UP:]), Latency(empty[WARM_UP:])


async def _timed_call(call: grpc.aio.UnaryUnaryCall[Any, Any]) -> float:
    started = time.perf_counter()
    await call
    return time.perf_counter() - started


async def measure_grpc_throughput(model: ModelFile, workers: int, readings: int) -> float:
    """Return readings per second through gRPC."""
    async with serving(model, workers=workers) as stub:

        async def read(text: str) -> None:
            await stub.Classify(affect_pb2.ClassifyRequest(text=text))

        return await _closed_loop(read, readings)


async def run(model: ModelFile, readings: int) -> None:
    """Measure everything and print it."""
    latencies = Table(title="Affect head, one utterance at a time (milliseconds)")
    for column in ("threads", "what", "p50", "p95", "p99", "p50 / bare"):
        latencies.add_column(column, justify="left" if column == "what" else "right")
    for threads in (1, 2):
        within = measure_in_process(model, threads, readings)
        through, empty = await measure_grpc(model, threads, readings)
        rows = {
            "llama_encode": within.bare,
            "head in process": within.head,
            "through gRPC": through,
            "GetModelCard": empty,
            "ONNX Runtime int8": measure_onnx(within.tokens, threads, readings),
        }
        for what, latency in rows.items():
            numbers = [f"{latency.percentile(share):.2f}" for share in (0.5, 0.95, 0.99)]
            ratio = latency.percentile(0.5) / within.bare.percentile(0.5)
            latencies.add_row(str(threads), what, *numbers, f"{ratio:.2f}")
    throughput = Table(title=f"Throughput, {CALLERS} callers, one thread a worker (readings per second)")
    for column in ("where", "1 worker", "2 workers", "ratio"):
        throughput.add_column(column, justify="left" if column == "where" else "right")
    for where, measure in (("in process", measure_pool), ("through gRPC", measure_grpc_throughput)):
        one, two = [await measure(model, workers, readings) for workers in (1, 2)]
        throughput.add_row(where, f"{one:.0f}", f"{two:.0f}", f"{two / one:.2f}")
    rich.print(
        f"{model.path.name}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, "
        f"{statistics.mean(map(len, within.tokens)):.1f} tokens on average"
    )
    rich.print(latencies)
    rich.print(throughput)


def main() -> None:
    """Read the arguments and run."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0] if __doc__ else None)
    parser.add_argument("--model", default="affect-head", help="a name in limbic/models.toml, or a .gguf file")
    parser.add_argument("--readings", type=int, default=400, help="readings of each measurement")
    arguments = parser.parse_args()
    model = find_model(arguments.model)
    model.verify()
    asyncio.run(run(model, arguments.readings))


if __name__ == "__main__":
    main()
