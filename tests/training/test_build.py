"""The committed head: what it says of itself is true, and it builds to the bits that were measured."""

from __future__ import annotations

import json
import shutil
import tomllib
from pathlib import Path

import pytest

from training.build import build_head, built_path
from training.cli import COMMITTED_HEAD
from training.errors import IntegrityError, ModelError
from training.gguf_file import WEIGHT_TYPES
from training.hashing import file_sha256
from training.head import PLOT_FILES, SCORES_FILE, load_head
from training.outputs import EMOTIONS
from training.promote import missed_gates

HEAD = COMMITTED_HEAD


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_head(HEAD, tmp_path_factory.mktemp("models"))


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The committed head's folder, to be tampered with."""
    return Path(shutil.copytree(HEAD, tmp_path / "head"))


def test_the_committed_head_builds_to_its_committed_hash(built: Path) -> None:
    head = load_head(HEAD)

    assert built == built_path(built.parent, head.head_id, head.default_type)
    assert file_sha256(built) == head.gguf_sha256[head.default_type]
    assert [file.name for file in built.parent.iterdir()] == [built.name]


def test_a_file_that_is_there_is_left_alone_and_a_spoiled_one_is_built_again(built: Path) -> None:
    made = built.stat().st_mtime_ns
    assert build_head(HEAD, built.parent) == built
    assert built.stat().st_mtime_ns == made

    built.write_bytes(b"spoiled")
    build_head(HEAD, built.parent)
    assert file_sha256(built) == load_head(HEAD).gguf_sha256[load_head(HEAD).default_type]


def test_a_result_with_another_hash_is_not_installed(copy: Path, tmp_path: Path) -> None:
    text = (copy / "head.json").read_text()
    head = load_head(copy)
    (copy / "head.json").write_text(text.replace(head.gguf_sha256[head.default_type], "0" * 64))

    with pytest.raises(IntegrityError, match=r"but 0000.* was recorded; it was not installed"):
        build_head(copy, tmp_path / "models")
    assert list((tmp_path / "models").iterdir()) == []


def test_a_changed_adapter_is_refused_before_anything_is_written(copy: Path, tmp_path: Path) -> None:
    data = bytearray((copy / "adapter.safetensors").read_bytes())
    data[-1] ^= 1
    (copy / "adapter.safetensors").write_bytes(data)

    with pytest.raises(IntegrityError, match=r"adapter\.safetensors has SHA-256 .*, but head\.json names"):
        build_head(copy, tmp_path / "models")
    assert not (tmp_path / "models").exists()


def test_a_head_of_another_base_is_refused(copy: Path, tmp_path: Path) -> None:
    values = json.loads((copy / "head.json").read_text())
    values["base_sha256"] = "0" * 64
    (copy / "head.json").write_text(json.dumps(values))

    with pytest.raises(IntegrityError, match="trained on another base"):
        build_head(copy, tmp_path / "models")


def test_a_type_without_a_recorded_hash_is_refused(copy: Path, tmp_path: Path) -> None:
    values = json.loads((copy / "head.json").read_text())
    values["gguf_sha256"] = {}
    (copy / "head.json").write_text(json.dumps(values))

    with pytest.raises(ModelError, match=r"records no SHA-256 for"):
        build_head(copy, tmp_path / "models")


def test_the_committed_head_passes_the_gates() -> None:
    head = load_head(HEAD)

    assert missed_gates(head.metrics[head.default_type], head.metrics["F32"]) == []
    # A few of 77,000 texts hold a word of more than 100 letters, which the base's tokenizer gives up on.
    assert head.tokenization["differing"] <= 2


def test_the_committed_report_says_what_head_json_says() -> None:
    head = load_head(HEAD)
    scores = json.loads((HEAD / SCORES_FILE).read_text(encoding="ascii"))

    assert (scores["head_id"], scores["default_type"]) == (head.head_id, head.default_type)
    assert scores["types"] == head.metrics
    assert set(scores["types"]) == set(WEIGHT_TYPES)
    assert set(scores["emotions"]) == set(EMOTIONS)
    mean = sum(values["f1"] for values in scores["emotions"].values()) / len(EMOTIONS)
    assert mean == pytest.approx(head.metrics[head.default_type]["goemotions_macro_f1"], abs=1e-3)
    assert scores["context"] == head.context


def test_the_registered_model_is_the_committed_head() -> None:
    models = tomllib.loads((HEAD.parents[2] / "limbic" / "models.toml").read_text(encoding="utf-8"))
    head = load_head(HEAD)

    path = built_path(Path("build/models"), head.head_id, head.default_type)
    assert models["affect-head"]["file"] == str(path)
    assert models["affect-head"]["sha256"] == head.gguf_sha256[head.default_type]


def test_the_head_names_its_sources_and_their_licences() -> None:
    head = load_head(HEAD)

    licences = {source["name"]: source["licence"] for source in head.provenance["sources"]}
    assert licences == {
        "goemotions": "CC BY 4.0", "emobank": "CC BY-SA 4.0", "question_intimacy": "MIT", "xed": "CC BY 4.0",
        "probes": "Apache-2.0",
    }  # fmt: skip
    assert all(len(digest) == 64 for digest in head.provenance["files_sha256"].values())
    report = (HEAD / "report.md").read_text(encoding="utf-8")
    assert all(name in report for name in (*licences, *licences.values(), *PLOT_FILES))
