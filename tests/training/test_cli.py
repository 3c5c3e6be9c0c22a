from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.training.tiny_run import describe
from training.cli import app
from training.errors import ModelError, TrainingError
from training.promote import CALIBRATED, COMMITTED, COMPARED, COUPLINGS, MINIMUM, promote

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

    for command in (
        "dataset",
        "probes",
        "rescore",
        "harvest",
        "train",
        "calibrate",
        "evaluate",
        "promote",
        "export",
        "quantize",
        "build-head",
    ):
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


GOOD = (
    dict.fromkeys(COMPARED, 0.9)
    | MINIMUM
    | {f"ece_{axis}_{kind}": 0.02 for axis in CALIBRATED for kind in ("cross_fit", "chance")}
    | {f"probes_{kind}_r_{pair}": 0.1 for kind in ("label", "predicted") for pair in COUPLINGS}
)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run's folder as `evaluate` leaves it, with made-up contents."""
    folder = tmp_path / "run"
    folder.mkdir()
    for name in COMMITTED:
        (folder / name).write_bytes(b"any")
    return folder


@pytest.mark.parametrize(
    ("served", "full", "sentence"),
    [
        ({"emobank_valence_r": 0.2}, {}, r"misses .*emobank_valence_r 0\.200 \(needs 0\.\d+\)"),
        ({"ece_valence_cross_fit": 0.06}, {}, r"ece_valence_cross_fit 0\.060 \(at most 0\.05\)"),
        ({"ece_tension_cross_fit": 0.08}, {}, r"tension's calibration error 0\.060 above chance \(at most 0\.05\)"),
        ({}, {"question_intimacy_r": 0.84}, r"question_intimacy_r 0\.0100 below F32 \(at most 0\.005\)"),
        (
            {"probes_predicted_r_valence_tension": -0.1},
            {},
            r"valence and tension correlate 0\.200 otherwise than their labels",
        ),
    ],
)
def test_a_head_that_misses_a_gate_is_not_promoted(
    run: Path, served: dict[str, float], full: dict[str, float], sentence: str
) -> None:
    describe(run, metrics={"Q8_0": GOOD | served, "F32": GOOD | full})

    with pytest.raises(ModelError, match=sentence):
        promote(run, run.parent / "heads")

    assert not (run.parent / "heads").exists()


def test_a_head_that_passes_the_gates_is_copied_whole(run: Path) -> None:
    describe(run)
    with pytest.raises(ModelError, match="was not evaluated at Q8_0"):
        promote(run, run.parent / "heads")

    describe(run, metrics={"Q8_0": dict(GOOD), "F32": dict(GOOD)})

    assert promote(run, run.parent / "heads") == run.parent / "heads" / "tiny"
    assert sorted(file.name for file in (run.parent / "heads" / "tiny").iterdir()) == sorted(COMMITTED)
