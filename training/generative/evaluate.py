"""Measure a generative head through the head that is served: fit its calibration, then score it in several weight types."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from limbic.runtime.llama import AbortFlag
from services.affect_head.generative.head import GenerativeHead
from services.affect_head.head import Utterance
from training.adapter import ADAPTER_FILE
from training.calibration import fit_calibration
from training.dataset import load_dataset
from training.errors import ModelError
from training.generative.base import open_base
from training.generative.build import CONVERTED_BASE
from training.generative.export import assemble_generative
from training.generative.record import RUN_FILE, GenerativeRecord, load_record, save_record
from training.generative.report import write_generative_report
from training.generative.scores import score_digits
from training.gguf_file import GgufModel, WeightType, write_gguf
from training.hashing import file_sha256
from training.head import Calibration
from training.logs import logger
from training.measures import measures
from training.outputs import AXES
from training.quantizing import AnyType, quantize_with_llama
from training.rows import Row
from training.scoring import Scored, Scorer

MEASURED_TYPES: tuple[AnyType, ...] = ("F16", "Q8_0", "Q6_K", "Q4_0")
"""And the default type, if that is another."""

_EXACT_TYPES = ("F32", "F16", "Q8_0")
"""Written by NumPy, the same to the bit on every machine."""

_UNFITTED = Calibration("none", [], [1.0] * len(AXES), [[0.0] * (2 + len(AXES))] * len(AXES))
_LATENCY_CALLS = 40
_LATENCY_TEXT = "I know, and I would still rather hear it from you than from somebody else, to be honest."
"""Twenty tokens of SmolLM2's, which cuts English much as the others do."""


def calibrate_generative(
    run: Path, head_id: str, dataset: Path, default_type: WeightType, workers: int, reason_tokens: int = 0
) -> GenerativeRecord:
    """Fit the deviations of a finished run on the development split, as served in `default_type`, and write its `head.json`.

    Raises:
        ModelError: if the run is not finished, or files of that type differ between machines.
    """
    if default_type not in _EXACT_TYPES:
        raise ModelError(
            f"A generative head is not served in {default_type} by default: choose {', '.join(_EXACT_TYPES)} with --type, which are "
            "written the same everywhere. `quantize` makes the others."
        )
    record_file = run / RUN_FILE
    if not record_file.is_file():
        raise ModelError(f"{run} holds no finished run; `python -m training train` finishes it.")
    trained = json.loads(record_file.read_text(encoding="ascii"))
    provenance = {key: trained[key] for key in ("base", "base_sha256", "recipe", "rows", "rows_sha256")}
    provenance |= {key: trained["data"][key] for key in ("sources", "files_sha256")}
    record = GenerativeRecord(
        head_id, trained["base"], trained["base_sha256"], file_sha256(run / ADAPTER_FILE), _UNFITTED,
        provenance, default_type, reason_tokens, history=trained["history"],
    )  # fmt: skip
    rows = rated_rows(dataset)
    model = _assembled(run, record)
    with tempfile.TemporaryDirectory() as scratch:
        path = write_as(Path(scratch), model, default_type)
        scored = score_digits(read_digits(path, rows, workers), rows)
    record = replace(record, calibration=fit_calibration(scored, trained["rows_sha256"]["dev"]))
    save_record(run, record)
    return record


def evaluate_generative(folder: Path, dataset: Path, workers: int) -> GenerativeRecord:
    """Score a calibrated head in each of `MEASURED_TYPES`; write scores and hashes to its `head.json`, and its report."""
    record = load_record(folder)
    rows = rated_rows(dataset)
    model = _assembled(folder, record)
    hashes: dict[str, str] = {}
    metrics: dict[str, dict[str, float]] = {}
    served: Scored | None = None
    for kind in dict.fromkeys((*MEASURED_TYPES, record.default_type)):
        with tempfile.TemporaryDirectory() as scratch:
            path = write_as(Path(scratch), model, kind)
            if kind in _EXACT_TYPES:
                hashes[kind] = file_sha256(path)
            scored = score_digits(read_digits(path, rows, workers), rows)
            speed = {"megabytes": path.stat().st_size / 1e6} | latency(path)
        metrics[kind] = {
            name: round(value, 4) for name, value in (speed | measures(scored, record.calibration)).items()
        }
        logger.info("%s: %s", kind, json.dumps(metrics[kind]))
        if kind == record.default_type:
            served = scored
    record = replace(record, gguf_sha256=hashes, metrics=metrics)
    save_record(folder, record)
    assert served is not None, "the default type is one of the types"
    write_generative_report(folder, record, served)
    return record


def generative_scorer(folder: Path, scratch: Path, weights: WeightType | None, workers: int) -> Scorer:
    """Return a calibrated head, written to `scratch` in a type (its own default if None), ready to read rows.

    Raises:
        ModelError: if the folder holds no calibrated head, or its base is not there.
    """
    record = load_record(folder)
    chosen = weights or record.default_type
    path = write_as(scratch, _assembled(folder, record), chosen)
    return Scorer(
        record.head_id, chosen, record.calibration, lambda rows: score_digits(read_digits(path, rows, workers), rows)
    )


def rated_rows(dataset: Path) -> list[Row]:
    """Return the development rows that carry an axis."""
    return [row for row in load_dataset(dataset).dev if any(getattr(row, axis) is not None for axis in AXES)]


def write_as(folder: Path, model: GgufModel, kind: AnyType) -> Path:
    """Write a model into a folder in any type: NumPy where it can, llama.cpp's quantizer where only that can.

    NumPy's Q5_0 and Q4_0 would go into the token table as well, which is this model's output matrix; llama.cpp spares it.
    """
    path = folder / f"{kind}.gguf"
    if kind in _EXACT_TYPES:
        write_gguf(path, model, kind)  # type: ignore[arg-type]  # NumPy makes all of these
        return path
    whole = folder / "whole.gguf"
    write_gguf(whole, model, "F16")
    quantize_with_llama(whole, path, kind)
    whole.unlink()
    return path


def read_digits(path: Path, rows: Sequence[Row], workers: int) -> NDArray[np.float32]:
    """Return the digits' logits for every row in order, float32 [rows, 3, levels], through the served head."""
    head = GenerativeHead(path, sha256="", threads=1)

    def work(part: Sequence[Row]) -> list[NDArray[np.float32]]:
        reader = head.open_reader()
        try:
            return [reader.digits(row.text, AbortFlag()) for row in part]
        finally:
            reader.close()

    size = -(-len(rows) // workers)
    try:
        with ThreadPoolExecutor(workers) as pool:
            parts = list(pool.map(work, [rows[at : at + size] for at in range(0, len(rows), size)]))
    finally:
        head.close()
    return np.stack([digits for part in parts for digits in part])


def latency(path: Path) -> dict[str, float]:
    """Return the median and the 95th percentile of one reading on one thread, in milliseconds."""
    head = GenerativeHead(path, sha256="", threads=1)
    reader = head.open_reader()
    try:
        times = []
        for _ in range(_LATENCY_CALLS):
            started = time.perf_counter()
            reader.read(Utterance(_LATENCY_TEXT), AbortFlag())
            times.append(1e3 * (time.perf_counter() - started))
    finally:
        reader.close()
        head.close()
    return {"ms_p50": float(np.percentile(times, 50)), "ms_p95": float(np.percentile(times, 95))}


def _assembled(folder: Path, record: GenerativeRecord) -> GgufModel:
    return assemble_generative(folder, record, open_base(record.base, folder / CONVERTED_BASE))
