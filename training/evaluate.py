"""Measure a head through llama.cpp: fit its calibration, then score it in every weight type."""

from __future__ import annotations

import json
import tempfile
from dataclasses import replace
from pathlib import Path

from training.adapter import ADAPTER_FILE
from training.base import BASE_NAME, BASE_SHA256, base_folder
from training.calibration import fit_calibration
from training.context_pairs import CONTEXT_RULE, read_pairs, score_context, score_unrelated
from training.dataset import Dataset, load_dataset
from training.errors import ModelError
from training.export import assemble
from training.gguf_file import WEIGHT_TYPES, WeightType, write_gguf
from training.hashing import file_sha256
from training.head import Calibration, Head, load_head, save_head
from training.logs import logger
from training.measures import measures
from training.outputs import AXES, EMOTIONS
from training.reading import latency_milliseconds, read_rows_with
from training.report import write_report
from training.rows import Row
from training.runner import GgufRunner
from training.scoring import Scored, score
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
    data = load_dataset(dataset)
    # A mean of runs names its data after the last of them.
    same_rows = record["rows_sha256"]["train"].split(" / ")[-1] == data.manifest["rows_sha256"]["train"]
    seen = data.manifest if same_rows else record["data"]
    provenance |= {key: seen[key] for key in ("sources", "files_sha256")}
    # The development rows are those that it is fitted on, which may be more than the run was watched with.
    provenance["rows_sha256"] = record["rows_sha256"] | {"dev": data.manifest["rows_sha256"]["dev"]}
    provenance |= {key: record[key] for key in ("teacher", "start") if record.get(key)}
    unfitted = Calibration("none", [0.5] * len(EMOTIONS), [1.0] * len(AXES), [[0.0] * 5] * len(AXES))
    head = Head(
        head_id, BASE_SHA256, file_sha256(run / ADAPTER_FILE), unfitted, provenance, default_type,
        record["recipe"]["max_tokens"], context_rule=CONTEXT_RULE, history=record["history"],
    )  # fmt: skip
    rows = measured_rows(data)
    model = assemble(run, head, base_folder())
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "head.gguf"
        write_gguf(path, model, default_type)
        scored = score(read_rows_with(path, rows, head.max_tokens, workers), rows)
    head = replace(head, calibration=fit_calibration(scored, data.manifest["rows_sha256"]["dev"]))
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
    context: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as scratch:
        for kind in WEIGHT_TYPES:
            path = Path(scratch) / f"{kind}.gguf"
            write_gguf(path, model, kind)
            hashes[kind] = file_sha256(path)
            scored = score(read_rows_with(path, rows, head.max_tokens, workers), rows)
            size = {"megabytes": path.stat().st_size / 1e6}
            metrics[kind] = _rounded(size | measures(scored, head.calibration))
            logger.info("%s: %s", kind, json.dumps(metrics[kind]))
            if kind == head.default_type:
                served, context = scored, _rounded(_context(path, head, data))
        paths = [Path(scratch) / f"{kind}.gguf" for kind in WEIGHT_TYPES]
        for kind, (median, slow) in zip(WEIGHT_TYPES, latency_milliseconds(paths, head.max_tokens), strict=True):
            metrics[kind] |= _rounded({"ms_p50": median, "ms_p95": slow})
        with GgufRunner(path, head.max_tokens) as runner:
            texts = [row.text for row in (*data.train, *data.dev)]
            different = differing_texts(runner.tokenize, load_tokenizer(base), texts, head.max_tokens)
            tokenization = {"texts": len(texts), "differing": len(different)}
    logger.info("tokenization: %s", json.dumps(tokenization))
    head = replace(head, gguf_sha256=hashes, metrics=metrics, context=context, tokenization=tokenization)
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


def _context(path: Path, head: Head, data: Dataset) -> dict[str, float]:
    rule = head.context_rule or CONTEXT_RULE
    lines = [row.text for row in data.dev if row.source == "xed"]
    with GgufRunner(path, head.max_tokens) as runner:
        return score_context(runner, read_pairs(), rule) | score_unrelated(runner, measured_rows(data), lines, rule)


def _rounded(values: dict[str, float]) -> dict[str, float]:
    return {name: round(value, 4) for name, value in values.items()}
