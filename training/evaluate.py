"""Measure a head through llama.cpp: fit its calibration, then score it in every weight type."""

from __future__ import annotations

import json
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np

from training.adapter import ADAPTER_FILE
from training.base import BASE_NAME, BASE_SHA256, base_folder
from training.calibration import calibration_error, cross_fit_judged, fit_calibration, judged
from training.dataset import Dataset, load_dataset
from training.errors import ModelError
from training.export import assemble
from training.gguf_file import WEIGHT_TYPES, WeightType, write_gguf
from training.hashing import file_sha256
from training.head import Calibration, Head, load_head, save_head
from training.logs import logger
from training.outputs import AXES, EMOTIONS
from training.reading import latency_milliseconds, read_rows_with
from training.report import write_report
from training.rows import Row
from training.runner import GgufRunner
from training.scoring import Scored, score, summary
from training.tokenizer import differing_texts, load_tokenizer


def calibrate(run: Path, head_id: str, dataset: Path, default_type: WeightType, workers: int) -> Head:
    """Fit thresholds and deviations of a finished run on the development split, and write its `head.json`.

    They are fitted on the outputs of `default_type`, because that is what will be served.

    Raises:
        ModelError: if the run is not finished.
    """
    record_file = run / "run.json"
    if not record_file.is_file():
        raise ModelError(f"{run} holds no finished run; `python -m training train` finishes it.")
    record = json.loads(record_file.read_text(encoding="ascii"))
    provenance = {"base": BASE_NAME, "base_sha256": BASE_SHA256, "recipe": record["recipe"]}
    provenance |= {key: record["data"][key] for key in ("sources", "files_sha256")}
    provenance["rows_sha256"] = record["rows_sha256"]
    unfitted = Calibration("none", [0.5] * len(EMOTIONS), [1.0] * len(AXES))
    head = Head(
        head_id, BASE_SHA256, file_sha256(run / ADAPTER_FILE), unfitted, provenance, default_type,
        record["recipe"]["max_tokens"], history=record["history"],
    )  # fmt: skip
    rows = measured_rows(load_dataset(dataset))
    model = assemble(run, head, base_folder())
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "head.gguf"
        write_gguf(path, model, default_type)
        scored = score(read_rows_with(path, rows, head.max_tokens, workers), rows)
    head = replace(head, calibration=fit_calibration(scored, record["rows_sha256"]["dev"]))
    save_head(run, head)
    return head


def evaluate(folder: Path, dataset: Path, workers: int) -> Head:
    """Score a calibrated head in each type; write hashes and scores to its `head.json`, and its report.

    Args:
        folder: holds `adapter.safetensors` and `head.json`; gets `report.md` and its plots.
        dataset: a built data set, whose development split is scored.
        workers: how many texts are read at once, each on one thread.
    """
    head = load_head(folder)
    data = load_dataset(dataset)
    rows = measured_rows(data)
    base = base_folder()
    model = assemble(folder, head, base)
    hashes: dict[str, str] = {}
    metrics: dict[str, dict[str, float]] = {}
    served: Scored | None = None
    with tempfile.TemporaryDirectory() as scratch:
        for kind in WEIGHT_TYPES:
            path = Path(scratch) / f"{kind}.gguf"
            write_gguf(path, model, kind)
            hashes[kind] = file_sha256(path)
            scored = score(read_rows_with(path, rows, head.max_tokens, workers), rows)
            metrics[kind] = _rounded(
                {"megabytes": path.stat().st_size / 1e6} | _speed(path, head) | measures(scored, head)
            )
            logger.info("%s: %s", kind, json.dumps(metrics[kind]))
            if kind == head.default_type:
                served = scored
        with GgufRunner(path, head.max_tokens) as runner:
            texts = [row.text for row in (*data.train, *data.dev)]
            different = differing_texts(runner.tokenize, load_tokenizer(base), texts, head.max_tokens)
            tokenization = {"texts": len(texts), "differing": len(different)}
    logger.info("tokenization: %s", json.dumps(tokenization))
    head = replace(head, gguf_sha256=hashes, metrics=metrics, tokenization=tokenization)
    save_head(folder, head)
    assert served is not None, "the default type is one of the types"
    write_report(folder, head, served)
    return head


def measured_rows(dataset: Dataset) -> list[Row]:
    """Return the development rows that carry something the head puts out."""
    return [
        row for row in dataset.dev
        if row.emotions is not None or any(getattr(row, axis) is not None for axis in AXES)
    ]  # fmt: skip


def measures(scored: Scored, head: Head) -> dict[str, float]:
    """Return every score by name, with the head's own thresholds and deviations."""
    result = summary(scored, np.array(head.calibration.emotion_thresholds, dtype=np.float32))
    for axis, name in enumerate(AXES):
        confidence, right, probes = judged(scored, axis, head.calibration.sigma_scale[axis])
        result[f"ece_{name}"] = calibration_error(confidence, right)
        result[f"ece_{name}_cross_fit"] = calibration_error(*cross_fit_judged(scored, axis))
        result[f"probes_{name}_mean_confidence"] = float(confidence[probes].mean())
        result[f"probes_{name}_within_tolerance"] = float(right[probes].mean())
        rated = (scored.sources == "probes") & ~np.isnan(scored.axes[:, axis])
        result[f"probes_{name}_mae"] = float(np.abs(scored.predicted[rated, axis] - scored.axes[rated, axis]).mean())
    probes = scored.sources == "probes"
    for first, second in ((0, 1), (0, 2), (1, 2)):
        pair = f"{AXES[first]}_{AXES[second]}"
        result[f"probes_label_r_{pair}"] = float(np.corrcoef(scored.axes[probes][:, [first, second]].T)[0, 1])
        result[f"probes_predicted_r_{pair}"] = float(np.corrcoef(scored.predicted[probes][:, [first, second]].T)[0, 1])
    return result


def _speed(path: Path, head: Head) -> dict[str, float]:
    median, slow = latency_milliseconds(path, head.max_tokens)
    return {"ms_p50": median, "ms_p95": slow}


def _rounded(values: dict[str, float]) -> dict[str, float]:
    return {name: round(value, 4) for name, value in values.items()}
