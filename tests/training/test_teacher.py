from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from transformers import MPNetConfig, MPNetModel
from typer.testing import CliRunner

from tests.training.tiny_run import RECIPE as TINY
from tests.training.tiny_run import tiny_run
from training.adapter import ADAPTER_FILE
from training.base import base_folder
from training.cli import app
from training.dataset import load_dataset
from training.errors import DataError, ModelError
from training.ratings import NOBODY, Ratings, read_ratings, write_ratings
from training.rows import Row
from training.teacher import RATINGS_FILE, RECORD_FILE, load_teacher_base, prepare_teacher, rate

RECIPE = replace(TINY, epochs=1)


@pytest.fixture(scope="module")
def larger_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random MPNet of two narrow layers. The words of its tokenizer are those of the small encoder."""
    folder = tmp_path_factory.mktemp("mpnet")
    shape = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
    MPNetModel(MPNetConfig(**shape), add_pooling_layer=False).save_pretrained(folder, safe_serialization=True)
    shutil.copyfile(base_folder() / "tokenizer.json", folder / "tokenizer.json")
    return folder


@pytest.fixture
def taught(dataset: Path, larger_base: Path, tmp_path: Path) -> Path:
    """A finished teacher's folder."""
    prepare_teacher(dataset, tmp_path / "teacher", RECIPE, larger_base).train()
    return tmp_path / "teacher"


def test_a_teacher_rates_what_nobody_rated_and_a_head_learns_from_it(
    taught: Path, larger_base: Path, dataset: Path, tiny_base: Path, tmp_path: Path
) -> None:
    file = rate(taught, larger_base, dataset)

    data = load_dataset(dataset)
    train_sha256 = data.manifest["rows_sha256"]["train"]
    ratings = read_ratings(file, train_sha256)
    assert ratings.axes.keys() == {row.key for row in data.train if row.source != "probes"}
    assert not ratings.axes.keys() & {row.key for row in data.dev}
    assert ratings.teacher == json.loads((taught / RECORD_FILE).read_text())["state_sha256"][:12]
    emobank = next(row for row in data.train if row.source == "emobank")
    targets = ratings.targets([emobank])
    assert np.isnan(targets[0]).tolist() == [True, False, False]  # its valence is people's

    alone = tiny_run(dataset, tmp_path / "alone", tiny_base, epochs=1).train()
    student = tiny_run(dataset, tmp_path / "student", tiny_base, file, epochs=1).train()
    assert alone is not None
    assert student is not None
    assert alone["history"][0]["losses"]["teacher_axes"] == 0
    assert student["history"][0]["losses"]["teacher_axes"] > 0
    assert student["teacher"] == {"id": ratings.teacher, "ratings_sha256": ratings.sha256}
    assert (tmp_path / "alone" / ADAPTER_FILE).read_bytes() != (tmp_path / "student" / ADAPTER_FILE).read_bytes()


def test_equal_teachers_give_equal_ratings(taught: Path, larger_base: Path, dataset: Path, tmp_path: Path) -> None:
    first = rate(taught, larger_base, dataset).read_bytes()
    prepare_teacher(dataset, tmp_path / "again", RECIPE, larger_base).train()

    assert rate(tmp_path / "again", larger_base, dataset).read_bytes() == first


def test_the_commands_teach_and_rate(larger_base: Path, dataset: Path, tmp_path: Path) -> None:
    common = ["--base", str(larger_base), "--dataset", str(dataset), "--run", str(tmp_path / "run")]
    recipe = ["epochs=1", "batch_rows=16", "lora_rank=4", "lora_alpha=8"]
    settings = [part for setting in recipe for part in ("--set", setting)]

    taught = CliRunner().invoke(app, ["teach", *common, *settings, "--threads", "1"])
    rated = CliRunner().invoke(app, ["rate", *common])

    assert (taught.exit_code, rated.exit_code) == (0, 0), taught.output + rated.output
    assert json.loads((tmp_path / "run" / RECORD_FILE).read_text())["recipe"]["sampling"]["goemotions"] == 0
    assert (tmp_path / "run" / RATINGS_FILE).is_file()


def test_a_run_can_start_from_another_ones_weights(dataset: Path, tiny_base: Path, tmp_path: Path) -> None:
    first = tiny_run(dataset, tmp_path / "first", tiny_base, epochs=1)
    first.train()

    second = tiny_run(dataset, tmp_path / "second", tiny_base, start=tmp_path / "first", epochs=1)

    assert np.array_equal(second.outputs("dev"), first.outputs("dev"))
    record = second.train()
    assert record is not None
    assert record["start"]["run"] == "first"
    with pytest.raises(ModelError, match="no finished run with its checkpoint"):
        tiny_run(dataset, tmp_path / "third", tiny_base, start=tmp_path / "nowhere")


def test_a_teacher_without_a_base_or_an_end_is_refused(
    larger_base: Path, dataset: Path, tiny_base: Path, taught: Path, tmp_path: Path
) -> None:
    with pytest.raises(ModelError, match="holds no finished teacher"):
        rate(tmp_path / "nothing", larger_base, dataset)
    with pytest.raises(ModelError, match="was trained on another base"):
        rate(taught, tiny_base, dataset)
    with pytest.raises(ModelError, match="holds no encoder"):
        load_teacher_base(tmp_path)
    for name in ("tokenizer.json", "model.safetensors"):
        (tmp_path / name).touch()
    (tmp_path / "config.json").write_text('{"model_type": "gpt2"}')
    with pytest.raises(ModelError, match="holds a gpt2; a teacher can be a bert or a mpnet"):
        load_teacher_base(tmp_path)


def test_ratings_come_back_as_they_were_written(tmp_path: Path) -> None:
    said = Ratings("t1", "rows", {"b": (0.25, -1.0, 0.5), "a": (0.0, 0.125, -0.3333)})

    write_ratings(tmp_path / "ratings.jsonl", said)

    back = read_ratings(tmp_path / "ratings.jsonl", "rows")
    assert (back.teacher, dict(back.axes)) == ("t1", {"a": (0.0, 0.125, -0.3333), "b": (0.25, -1.0, 0.5)})
    row = Row("a", "a text", "xed", ("x:1",), tension=0.9)
    assert back.targets([row])[0].tolist() == pytest.approx([0.0, 0.125, float("nan")], nan_ok=True)
    assert np.isnan(NOBODY.targets([row])).all()


@pytest.mark.parametrize(
    ("lines", "sentence"),
    [
        ([], "does not read as a teacher's ratings"),
        (['{"teacher": "t"}'], "does not read as a teacher's ratings"),
        (['{"teacher": "t", "rows_sha256": "rows"}', '{"key": "a", "valence": 2, "intimacy": 0, "tension": 0}'], "outside -1 to 1"),
        (['{"teacher": "t", "rows_sha256": "other"}'], "rates another training split"),
    ],
)  # fmt: skip
def test_what_are_no_ratings_of_this_split_is_refused(lines: list[str], sentence: str, tmp_path: Path) -> None:
    file = tmp_path / "ratings.jsonl"
    file.write_text("".join(line + "\n" for line in lines))

    with pytest.raises(DataError, match=sentence):
        read_ratings(file, "rows")
    with pytest.raises(DataError, match=r"`python -m training rate` makes it"):
        read_ratings(tmp_path / "none.jsonl", "rows")
