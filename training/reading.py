"""Read a split through a GGUF, on as many cores as given, and time single texts."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
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


def latency_milliseconds(path: Path, max_tokens: int) -> tuple[float, float]:
    """Return the median and the 95th percentile of one call on one thread, for a text of `LATENCY_TOKENS` tokens."""
    with GgufRunner(path, max_tokens) as runner:
        # Any words do: the cost depends on their number alone.
        tokens = runner.tokenize("I know " * LATENCY_TOKENS)[: LATENCY_TOKENS - 1]
        tokens.append(runner.tokenize("")[-1])
        times = []
        for _ in range(LATENCY_CALLS):
            started = time.perf_counter()
            runner.outputs(tokens)
            times.append(1e3 * (time.perf_counter() - started))
    return float(np.percentile(times, 50)), float(np.percentile(times, 95))
