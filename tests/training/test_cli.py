from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.training.tiny_run import describe
from training.adapter import ADAPTER_FILE
from training.cli import app
from training.errors import ModelError, TrainingError
from training.head import PLOT_FILES
from training.promote import MINIMUM, promote

HEAVY = ("torch", "transformers", "peft", "tokenizers", "matplotlib", "scipy", "llama_cpp")


def test_building_exporting_and_quantizing_need_no_training_library() -> None:
    script = (
        "import sys, training.cli, training.build, training.export, training.gguf_file, training.promote\n"
        f"sys.exit(','.join(sorted(set({HEAVY!r}) & set(sys.modules))) or 0)"
    )

    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)

    assert (done.returncode, done.stderr) == (0, "")


def test_every_step_is_a_command() -> None:
    shown = CliRunner().invoke(app, ["--help"]).output

    for command in ("dataset", "train", "calibrate", "evaluate", "promote", "export", "quantize", "build-head"):
        assert f" {command} " in shown


def test_a_refusal_is_one_sentence_and_status_1(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "training", "dataset", "--data", str(tmp_path / "none"), "--dataset", str(tmp_path)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert done.returncode == 1
    assert done.stderr.startswith("error: goemotions/train.tsv is not in ")
    assert done.stderr.count("\n") == 1


def test_quantizing_nothing_is_refused(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["quantize", str(tmp_path / "a.gguf"), str(tmp_path / "b.gguf")])

    assert isinstance(result.exception, TrainingError)


def test_a_head_that_misses_a_gate_is_not_promoted(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    for name in (ADAPTER_FILE, "report.md", *PLOT_FILES):
        (run / name).write_bytes(b"any")
    describe(run)
    with pytest.raises(ModelError, match="was not evaluated at Q8_0"):
        promote(run, tmp_path / "heads")

    describe(run, metrics={"Q8_0": MINIMUM | {"emobank_valence_r": 0.2}})
    with pytest.raises(ModelError, match=r"misses emobank_valence_r 0\.200 \(needs 0\.65\)"):
        promote(run, tmp_path / "heads")
    assert not (tmp_path / "heads").exists()

    describe(run, metrics={"Q8_0": dict(MINIMUM)})
    assert promote(run, tmp_path / "heads") == tmp_path / "heads" / "tiny"
    assert sorted(file.name for file in (tmp_path / "heads" / "tiny").iterdir()) == sorted(
        ["adapter.safetensors", "head.json", "report.md", *PLOT_FILES]
    )
