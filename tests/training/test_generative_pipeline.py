"""A Qwen3 checkpoint through every command: train, calibrate, evaluate, export, quantize, serve."""

from __future__ import annotations

import dataclasses
import json
import re
from dataclasses import replace
from pathlib import Path

import gguf
import numpy as np
import pytest
from typer.testing import CliRunner

from limbic.runtime.llama import AbortFlag
from services.affect_head.generative.head import GenerativeHead
from services.affect_head.head import Utterance
from tests.affect_head.tiny_language_model import head_fields, write_language_model
from tests.training.tiny_qwen3 import write_tiny_qwen3
from training.adapter import ADAPTER_FILE
from training.cli import app
from training.dataset import load_dataset
from training.errors import CheckpointError, IntegrityError, ModelError
from training.generative.base import open_base
from training.generative.build import build_generative, promote_generative
from training.generative.recipe import GenerativeRecipe
from training.generative.record import load_record, save_record
from training.generative.train import GenerativeRun, prepare_run
from training.outputs import AXES

ROOT = Path(__file__).parents[2]
RECIPE = replace(
    GenerativeRecipe(), epochs=2, batch_rows=16, lora_rank=4, lora_alpha=8, bfloat16=False, learning_rate=0.01,
    rows={"probes": 32, "emobank": 10, "question_intimacy": 10},
)  # fmt: skip


@pytest.fixture(scope="module")
def qwen3(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("qwen3")
    write_tiny_qwen3(folder)
    return folder


def run_in(folder: Path, dataset: Path, qwen3: Path, **changes: object) -> GenerativeRun:
    base = open_base(str(qwen3), qwen3 / "base.gguf")
    recipe = replace(RECIPE, **changes)  # type: ignore[arg-type]
    return prepare_run(load_dataset(dataset), folder, recipe, base)


def command(*arguments: str) -> None:
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output


def test_a_run_that_was_interrupted_ends_with_the_same_weights(tmp_path: Path, dataset: Path, qwen3: Path) -> None:
    whole = run_in(tmp_path / "whole", dataset, qwen3)
    assert whole.train()

    # Between two checkpoints, so that the steps since the last are taken again.
    assert not run_in(tmp_path / "cut", dataset, qwen3).train(stop_after_steps=whole.epoch_steps + 1)
    continued = run_in(tmp_path / "cut", dataset, qwen3)
    assert continued.train()

    expected = whole.network.trained_state()
    for name, value in continued.network.trained_state().items():
        assert np.array_equal(value.numpy(), expected[name].numpy()), name
    assert [entry["losses"] for entry in continued.history] == [entry["losses"] for entry in whole.history]


def test_a_run_learns_what_it_is_shown(tmp_path: Path, dataset: Path, qwen3: Path) -> None:
    run = run_in(tmp_path / "run", dataset, qwen3, epochs=12)
    run.train()

    assert run.history[-1]["losses"]["digits"] < 0.75 * run.history[0]["losses"]["digits"]


def test_a_run_with_another_recipe_is_refused(tmp_path: Path, dataset: Path, qwen3: Path) -> None:
    run_in(tmp_path / "run", dataset, qwen3, epochs=1).train()

    with pytest.raises(CheckpointError, match="another recipe"):
        run_in(tmp_path / "run", dataset, qwen3, epochs=2).train()


def test_every_command_works_for_a_qwen3_checkpoint(tmp_path: Path, dataset: Path, qwen3: Path) -> None:
    run, whole, small = tmp_path / "run", tmp_path / "whole-f16.gguf", tmp_path / "small-q6_k.gguf"
    data = ("--dataset", str(dataset))
    settings = [
        f"--set={setting}"
        for setting in ("epochs=1", "lora_rank=4", "lora_alpha=8", "bfloat16=false", "rows.probes=40")
    ]

    command("train", "--base", str(qwen3), "--run", str(run), *data, *settings, "--threads", "1")
    command(
        "calibrate", "--run", str(run), *data, "--head-id", "tiny-qwen3", "--type", "Q8_0", "--workers", "1",
        "--reason-tokens", "8",
    )  # fmt: skip
    command("evaluate", "--head", str(run), *data, "--workers", "1")
    command("export", "--head", str(run), "--out", str(whole), "--type", "F16")
    command("quantize", str(whole), str(small), "--type", "Q6_K")

    kinds = {tensor.name: tensor.tensor_type.name for tensor in gguf.GGUFReader(small).tensors}
    assert kinds["blk.0.ffn_down.weight"] == kinds["blk.1.attn_q.weight"] == "Q6_K"
    readings = []
    for path in (whole, small):
        head = GenerativeHead(path, sha256="", threads=1)
        reader = head.open_reader()
        readings.append(reader.read(Utterance("you and me, probe 3", wants_reason=True), AbortFlag()))
        reader.close()
        head.close()
    exact, reading = readings
    # Six bits hardly change a reading.
    assert dataclasses.astuple(reading.axes) == pytest.approx(dataclasses.astuple(exact.axes), abs=0.1)
    assert (head.card.identity.id, head.card.identity.quantization) == ("tiny-qwen3", "Q6_K")
    assert 0 < reading.confidence < 1
    assert reading.reasoning
    assert json.loads(head.card.provenance_json)["rows"]["probes"] == 40
    record = load_record(run)
    assert set(record.metrics) == {"F16", "Q8_0", "Q6_K", "Q4_0"}
    report = (run / "report.md").read_text()
    assert "| tiny-qwen3 | Q6_K |" in report
    assert "| minilm-v3 |" in report

    sources = dataset.parent / "data"
    command(
        "evaluate",
        "--head",
        str(run),
        "--emobank",
        str(sources / "emobank" / "dev.csv"),
        "--json",
        str(tmp_path / "f.json"),
    )
    assert json.loads((tmp_path / "f.json").read_text())["emobank"]["rows"] == 24
    with pytest.raises(ModelError, match="tells no emotions"):
        command("evaluate", "--head", str(run), "--goemotions", str(sources / "goemotions" / "dev.tsv"))

    promoted = promote_generative(run, tmp_path / "heads")
    assert {path.name for path in promoted.iterdir()} == {ADAPTER_FILE, "head.json", "report.md", "curves.png"}
    built = build_generative(promoted, tmp_path / "models")
    assert built.name == "affect-head-tiny-qwen3-q8_0.gguf"
    save_record(run, replace(record, gguf_sha256={"Q8_0": "0" * 64}))
    with pytest.raises(IntegrityError, match="it was not installed"):
        build_generative(run, tmp_path / "models")
    assert not built.exists()


def test_a_type_that_differs_between_machines_cannot_be_the_default(tmp_path: Path, dataset: Path) -> None:
    (tmp_path / "run.json").write_text('{"kind": "generative"}')

    with pytest.raises(ModelError, match="not served in Q4_0 by default"):
        command("calibrate", "--run", str(tmp_path), "--dataset", str(dataset), "--type", "Q4_0")


def test_an_encoders_folder_is_not_overwritten(tmp_path: Path, dataset: Path, qwen3: Path) -> None:
    heads, run = tmp_path / "heads", tmp_path / "minilm"
    (heads / "minilm").mkdir(parents=True)
    (heads / "minilm" / "head.json").write_text('{"head_id": "minilm"}')
    command(
        "train", "--base", str(qwen3), "--run", str(run), "--dataset", str(dataset), "--threads", "1",
        *(f"--set={setting}" for setting in ("epochs=1", "bfloat16=false", "rows.probes=8", "rows.emobank=8")),
    )  # fmt: skip
    command("calibrate", "--run", str(run), "--dataset", str(dataset), "--type", "Q8_0", "--workers", "1")

    with pytest.raises(ModelError, match="was not evaluated"):
        promote_generative(run, heads)
    save_record(run, replace(load_record(run), metrics={"Q8_0": {}}))
    with pytest.raises(ModelError, match="is an encoder's"):
        promote_generative(run, heads)


def test_an_adapter_only_file_is_refused_by_every_step_that_could_take_it(tmp_path: Path, dataset: Path) -> None:
    fields = {"general.type": "adapter", "qwen3.context_length": None}
    adapter = write_language_model(tmp_path / "adapter.gguf", fields=fields, tensors=False)
    sentence = r"holds an adapter only \(no qwen3.context_length\).* Merge it into its base first"

    for arguments in (
        ("quantize", str(adapter), str(tmp_path / "out.gguf"), "--type", "Q6_K"),
        ("train", "--base", str(adapter), "--dataset", str(dataset), "--run", str(tmp_path / "run")),
    ):
        with pytest.raises(ModelError, match=sentence):
            CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert not (tmp_path / "out.gguf").exists()


def test_an_adapter_that_was_changed_is_not_merged(tmp_path: Path, dataset: Path, qwen3: Path) -> None:
    run = tmp_path / "run"
    command(
        "train", "--base", str(qwen3), "--run", str(run), "--dataset", str(dataset), "--threads", "1",
        *(f"--set={setting}" for setting in ("epochs=1", "bfloat16=false", "rows.probes=8", "rows.emobank=8")),
    )  # fmt: skip
    command("calibrate", "--run", str(run), "--dataset", str(dataset), "--type", "Q8_0", "--workers", "1")
    (run / ADAPTER_FILE).write_bytes((run / ADAPTER_FILE).read_bytes() + b"\0")

    with pytest.raises((IntegrityError, ModelError)):
        CliRunner().invoke(
            app, ["export", "--head", str(run), "--out", str(tmp_path / "x.gguf")], catch_exceptions=False
        )


def test_a_base_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"no model is called 'nothing'.*A base is a name"):
        open_base("nothing", tmp_path / "base.gguf")


def test_every_key_of_a_generative_head_is_described() -> None:
    documents = (ROOT / "docs" / "training.md").read_text(encoding="utf-8")
    described = set(re.findall(r"^\| `((?:kind|generative\.)[a-z_.]*)`", documents, re.MULTILINE))

    assert described == {
        key.removeprefix("affect.")
        for key in head_fields()
        if key == "affect.kind" or key.startswith("affect.generative.")
    } | {"generative.text_opening"}


def test_the_figures_in_the_document_are_those_of_the_committed_head() -> None:
    documents = (ROOT / "docs" / "training.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| smollm2-v1 \| (\w+) \| (.+) \|$", documents, re.MULTILINE)
    metrics = load_record(ROOT / "training" / "heads" / "smollm2-v1").metrics

    expected = []
    for kind, values in metrics.items():
        areas, errors = (
            " / ".join(f"{values[name.format(axis)]:.3f}" for axis in AXES)
            for name in ("probes_{}_auc", "ece_{}_cross_fit")
        )
        correlations = f"{values['emobank_valence_r']:.3f} | {values['question_intimacy_r']:.3f}"
        expected.append(
            (kind, f"{values['megabytes']:.1f} | {values['ms_p50']:.1f} | – | {correlations} | {areas} | {errors}")
        )
    assert rows == expected


def test_the_committed_head_is_built_from_the_bundled_model(tmp_path: Path) -> None:
    folder = ROOT / "training" / "heads" / "smollm2-v1"

    # Its SHA-256 is checked on the way.
    built = build_generative(folder, tmp_path)

    head = GenerativeHead(built, sha256="", threads=1)
    reader = head.open_reader()
    warm, cold = (
        reader.read(Utterance(text), AbortFlag()).axes
        for text in ("I love you so much, come here", "Get out of my sight, I never want to see you again!")
    )
    reader.close()
    head.close()
    assert warm.valence > 0.2 > -0.2 > cold.valence
    assert warm.intimacy > cold.intimacy
    assert warm.tension < cold.tension
