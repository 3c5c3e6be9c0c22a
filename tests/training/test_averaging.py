from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from tests.training.tiny_run import describe, tiny_run
from training.adapter import ADAPTER_FILE, Adapter, Array, load_adapter
from training.averaging import RUN_FILE, average_adapters, average_runs
from training.cli import app
from training.errors import ModelError
from training.export import assemble
from training.merge import load_base, merge


@pytest.fixture
def runs(dataset: Path, tiny_base: Path, tmp_path: Path) -> list[Path]:
    """Two finished runs from one seed with different recipes."""
    for name, rate in (("one", 0.01), ("two", 0.02)):
        tiny_run(dataset, tmp_path / name, tiny_base, epochs=1, head_learning_rate=rate).train()
    return [tmp_path / "one", tmp_path / "two"]


def test_the_average_merges_to_the_mean_of_the_merges(runs: list[Path], tiny_base: Path, tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["average", *map(str, runs), "--out", str(tmp_path / "mean")])

    assert result.exit_code == 0, result.output
    base = load_base(tiny_base / "model.safetensors")
    one, two, mean = (merge(base, load_adapter(run / ADAPTER_FILE)) for run in (*runs, tmp_path / "mean"))
    assert one.keys() == mean.keys()
    moved = 0.0
    for name in mean:
        assert mean[name] == pytest.approx((one[name].astype(np.float64) + two[name]) / 2, abs=1e-6)
        moved = max(moved, float(np.abs(one[name] - mean[name]).max()))
    assert moved > 1e-3


def test_a_run_that_is_named_more_than_once_weighs_more(runs: list[Path], tiny_base: Path, tmp_path: Path) -> None:
    one, two = runs
    average_runs([two, one, two, two], tmp_path / "mean")

    base = load_base(tiny_base / "model.safetensors")
    adapter = load_adapter(tmp_path / "mean" / ADAPTER_FILE)
    first, second, mean = (merge(base, load_adapter(run / ADAPTER_FILE)) for run in (one, two, tmp_path / "mean"))
    for name in mean:
        assert mean[name] == pytest.approx(
            (first[name].astype(np.float64) + 3 * second[name].astype(np.float64)) / 4, abs=2e-4
        )
    assert {a.shape[0] for a, _ in adapter.lora.values()} == {8}  # two adapters of rank 4


def test_the_average_is_a_run_that_says_what_it_is_made_of(runs: list[Path], tiny_base: Path, tmp_path: Path) -> None:
    record = average_runs(runs, tmp_path / "mean")

    assert json.loads((tmp_path / "mean" / RUN_FILE).read_text()) == record
    assert record["recipe"]["mean_of_runs"] == "one / two"
    assert record["recipe"]["head_learning_rate"] == "0.01 / 0.02"
    assert record["recipe"]["lora_rank"] == 4
    assert len(record["recipe"]["adapters_sha256"].split(" / ")) == 2
    assert record["history"] == json.loads((runs[1] / RUN_FILE).read_text())["history"]
    # It exports as any run does.
    assemble(tmp_path / "mean", describe(tmp_path / "mean"), tiny_base)


def test_runs_that_have_no_common_ground_are_refused(runs: list[Path], tmp_path: Path) -> None:
    record = json.loads((runs[1] / RUN_FILE).read_text())
    record["recipe"]["seed"] = 99
    (runs[1] / RUN_FILE).write_text(json.dumps(record))
    with pytest.raises(ModelError, match="differ in their seed"):
        average_runs(runs, tmp_path / "mean")

    (runs[1] / RUN_FILE).unlink()
    with pytest.raises(ModelError, match="two holds no finished run"):
        average_runs(runs, tmp_path / "mean")
    assert not (tmp_path / "mean").exists()


def _adapter(scale: float = 2.0, layer: str = "blk.0.attn_q") -> Adapter:
    head: dict[str, Array] = {"cls.bias": np.ones(3, dtype=np.float32)}
    return Adapter({layer: (np.ones((2, 4), np.float16), np.ones((4, 2), np.float16))}, head, scale)


@pytest.mark.parametrize(
    ("adapters", "sentence"),
    [
        ([_adapter()], "1 runs cannot be averaged exactly"),
        ([_adapter()] * 3, "3 runs cannot be averaged exactly"),
        ([_adapter(), _adapter(scale=4.0)], "same layers at one scale"),
        ([_adapter(), _adapter(layer="blk.1.attn_q")], "same layers at one scale"),
    ],
)
def test_what_cannot_be_averaged_exactly_is_refused(adapters: list[Adapter], sentence: str) -> None:
    with pytest.raises(ModelError, match=sentence):
        average_adapters(adapters)


def test_two_equal_adapters_average_to_the_same_change() -> None:
    mean = average_adapters([_adapter(), _adapter()])

    base = {"blk.0.attn_q.weight": np.zeros((4, 4), dtype=np.float32)}
    assert (merge(base, mean)["blk.0.attn_q.weight"] == merge(base, _adapter())["blk.0.attn_q.weight"]).all()
