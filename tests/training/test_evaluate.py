"""Calibration and evaluation of a tiny run, through llama.cpp, to the report card."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.training.tiny_run import tiny_run
from training.calibration import fit_calibration
from training.dataset import load_dataset
from training.errors import ModelError
from training.evaluate import calibrate, evaluate, measured_rows
from training.export import assemble
from training.gguf_file import WEIGHT_TYPES, write_gguf
from training.hashing import file_sha256
from training.head import PLOT_FILES, REPORT_FILE, SCORES_FILE, load_head
from training.measures import AXIS_SOURCES
from training.outputs import AXES, EMOTIONS
from training.reading import read_rows_with
from training.scoring import score


@pytest.fixture
def run(dataset: Path, tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A finished run on the tiny base, which stands in for the real one."""
    monkeypatch.setattr("training.evaluate.base_folder", lambda: tiny_base)
    tiny_run(dataset, tmp_path / "run", tiny_base).train()
    return tmp_path / "run"


def test_a_run_becomes_a_head_with_a_report_card(run: Path, dataset: Path, tiny_base: Path, tmp_path: Path) -> None:
    fitted = calibrate(run, "tiny-1", dataset, "Q4_8", workers=1)

    # Fitted on what will be served: the mixed type's own outputs.
    write_gguf(tmp_path / "served.gguf", assemble(run, fitted, tiny_base), "Q4_8")
    rows = measured_rows(load_dataset(dataset))
    scored = score(read_rows_with(tmp_path / "served.gguf", rows, 128, 1), rows)
    manifest = json.loads((dataset / "manifest.json").read_text())
    assert fitted.calibration == fit_calibration(scored, manifest["rows_sha256"]["dev"])

    head = evaluate(run, dataset, workers=1)

    # As text, in which what cannot be told from so few rows (NaN) equals itself.
    assert repr(head) == repr(load_head(run))
    assert set(head.metrics) == set(head.gguf_sha256) == set(WEIGHT_TYPES)
    assert head.gguf_sha256["Q4_8"] == file_sha256(tmp_path / "served.gguf")
    for axis, sources in AXIS_SOURCES.items():
        for name in (f"ece_{axis}", *(f"ece_{axis}_{source}" for source in sources)):
            assert 0 <= head.metrics["Q4_8"][f"{name}_cross_fit"] <= 1
    assert head.metrics["F32"]["megabytes"] > head.metrics["Q4_8"]["megabytes"] > head.metrics["Q4_0"]["megabytes"]
    assert head.tokenization["texts"] == len(load_dataset(dataset).train) + len(load_dataset(dataset).dev)
    report = (run / REPORT_FILE).read_text(encoding="utf-8")
    assert all(f"| {kind}" in report or f"**{kind}**" in report for kind in WEIGHT_TYPES)
    assert all(name in report for name in (*EMOTIONS, *AXES, *PLOT_FILES))
    assert all((run / name).stat().st_size > 0 for name in PLOT_FILES)
    scores = json.loads((run / SCORES_FILE).read_text())
    assert repr(scores["types"]) == repr(head.metrics)
    assert scores["context"]["pairs"] == 52
    assert sum(kind["rows"] for kind in scores["archetypes"].values()) == sum(r.source == "probes" for r in rows)


def test_a_run_that_is_not_finished_is_refused(dataset: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="holds no finished run"):
        calibrate(tmp_path, "x", dataset, "Q4_8", 1)
