"""Read a split through a GGUF, on as many cores as given, and time single texts."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from training.rows import Row
from training.runner import GgufRunner

LATENCY_TOKENS = 20
"""Long for a chat line, and what the published figures are given for."""
LATENCY_CALLS = 200


def read_rows_with(path: Path, rows: Sequence[Row], max_tokens: int, workers: int) -> NDArray[np.float32]:
    """Return the raw outputs for every row in order, float32 [rows, EXPORTED], one model and one thread a worker."""

    def work(texts: Sequence[str]) -> NDArray[np.float32]:
        with GgufRunner(path, max_tokens) as runner:
            return runner.read(texts)

    texts = [row.text for row in rows]
    size = -(-len(texts) // workers)
    with ThreadPoolExecutor(workers) as pool:
        return np.concatenate(list(pool.map(work, [texts[at : at + size] for at in range(0, len(texts), size)])))


def latency_milliseconds(paths: Sequence[Path], max_tokens: int) -> list[tuple[float, float]]:
    """Return each file's median and 95th percentile of one call on one thread, for a text of `LATENCY_TOKENS` tokens.

    The files take turns, so that whatever else the machine does meanwhile slows all of them alike.
    """
    with ExitStack() as stack:
        runners = [stack.enter_context(GgufRunner(path, max_tokens)) for path in paths]
        # Any words do: the cost depends on their number alone.
        tokens = runners[0].tokenize("I know " * LATENCY_TOKENS)[: LATENCY_TOKENS - 1]
        tokens.append(runners[0].tokenize("")[-1])
        times: list[list[float]] = [[] for _ in runners]
        for _ in range(LATENCY_CALLS):
            for runner, mine in zip(runners, times, strict=True):
                started = time.perf_counter()
                runner.outputs(tokens)
                mine.append(1e3 * (time.perf_counter() - started))
    return [(float(np.percentile(mine, 50)), float(np.percentile(mine, 95))) for mine in times]
