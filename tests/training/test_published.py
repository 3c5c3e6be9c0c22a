"""A given file is scored as a whole, with what the head came with, and nothing is fitted on it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from tests.training.tiny import mark
from training.base import base_folder
from training.cli import COMMITTED_HEAD, app
from training.errors import DataError, ModelError
from training.export import assemble
from training.gguf_file import write_gguf
from training.head import load_head
from training.metrics import f1_scores, sigmoid
from training.outputs import AXES, EMOTIONS
from training.published import PublishedFiles, score_published
from training.runner import GgufRunner
from training.text import to_ascii

HEAD = COMMITTED_HEAD
QUESTIONS = ["Do you still love me?", "Where is the station?", "What do you dream of at night?", "How much is it?"]


@pytest.fixture
def files(tmp_path: Path) -> PublishedFiles:
    (tmp_path / "go.tsv").write_text(
        "".join(f"I am so {word} today, {mark(n)}\t{ids}\tid{n}\n" for n, (word, ids) in enumerate(
            [("angry", "2"), ("happy", "17,13"), ("sad", "25"), ("grateful to you", "15"), ("tired", "27")] * 4))
    )  # fmt: skip
    (tmp_path / "eb.csv").write_text(
        'id,V,A,D,text\na,4.2,3,3,"What a lovely, happy day"\nb,1.5,3,3,"They were murdered in their beds"\n'
        'c,3.0,3,3,"The meeting is on Monday"\nd,3.0,3,3,"..."\n'
    )
    (tmp_path / "qi.tsv").write_text("".join(f"{text}\t{0.4 - 0.2 * n}\n" for n, text in enumerate(QUESTIONS)))
    rows = [
        {"text": f"I hate you, you liar {mark(n)}" if n % 2 else f"Rest now, my love {mark(n)}", "archetype": "xy"[n % 2],
         "valence": 1 - 2 * (n % 2), "intimacy": (1, 0, -1)[n % 3], "tension": 2 * (n % 2) - 1}
        for n in range(12)
    ]  # fmt: skip
    (tmp_path / "arch.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return PublishedFiles(tmp_path / "go.tsv", tmp_path / "eb.csv", tmp_path / "qi.tsv", tmp_path / "arch.jsonl")


def test_every_row_counts_and_the_heads_own_thresholds_are_used(files: PublishedFiles, tmp_path: Path) -> None:
    figures = score_published(HEAD, files, "Q8_0", workers=1)

    assert {name: figures[name]["rows"] for name in ("goemotions", "emobank", "question_intimacy", "archetypes")} == {
        "goemotions": 20, "emobank": 4, "question_intimacy": 4, "archetypes": 12,
    }  # fmt: skip
    head = load_head(HEAD)
    write_gguf(tmp_path / "head.gguf", assemble(HEAD, head, base_folder()), "Q8_0")
    lines = [line.split("\t") for line in files.goemotions.read_text().splitlines()]  # type: ignore[union-attr]
    with GgufRunner(tmp_path / "head.gguf", head.max_tokens) as runner:
        outputs = runner.read([to_ascii(fields[0]) for fields in lines])
    actual = np.zeros((len(lines), len(EMOTIONS)), dtype=bool)
    for index, fields in enumerate(lines):
        actual[index, [int(part) for part in fields[1].split(",")]] = True
    predicted = sigmoid(outputs[:, :28].astype(np.float64)) >= np.array(head.calibration.emotion_thresholds, np.float32)
    assert figures["goemotions"]["macro_f1"] == pytest.approx(f1_scores(predicted, actual).mean())
    assert figures["goemotions"]["emotions"]["gratitude"]["rows"] == 4
    assert figures["emobank"]["r"] > 0.5
    assert 0 <= figures["question_intimacy"]["ece"] <= 1
    for axis in AXES:
        assert 0 <= figures["archetypes"][f"{axis}_auc"] <= 1
    assert figures["archetypes"]["valence_auc"] == 1
    assert figures["archetypes"]["label_r_valence_tension"] == pytest.approx(-1)
    assert figures["archetypes"]["archetypes"]["x"]["valence"]["label"] == 1


def test_one_command_prints_the_figures_and_writes_them(files: PublishedFiles, tmp_path: Path) -> None:
    result = CliRunner().invoke(
        app,
        ["evaluate", "--head", str(HEAD), "--emobank", str(files.emobank), "--archetypes", str(files.archetypes),
         "--workers", "1", "--json", str(tmp_path / "figures.json")],
    )  # fmt: skip

    assert result.exit_code == 0, result.output
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert set(figures) == {"head", "emobank", "archetypes"}
    assert figures["head"] == {"head_id": load_head(HEAD).head_id, "type": load_head(HEAD).default_type}
    assert f"| r | {figures['emobank']['r']:.3f} |" in result.output
    assert "## archetypes" in result.output


def test_what_does_not_read_as_its_set_is_refused(files: PublishedFiles, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="name at least one file"):
        score_published(HEAD, PublishedFiles(), None, 1)
    with pytest.raises(DataError, match=r"nowhere\.tsv is missing"):
        score_published(HEAD, PublishedFiles(goemotions=tmp_path / "nowhere.tsv"), None, 1)
    with pytest.raises(DataError, match=r"qi\.tsv, line 1 does not read"):
        score_published(HEAD, PublishedFiles(goemotions=files.question_intimacy), None, 1)
    (tmp_path / "empty.tsv").write_text("")
    with pytest.raises(DataError, match="holds no rows"):
        score_published(HEAD, PublishedFiles(question_intimacy=tmp_path / "empty.tsv"), None, 1)
