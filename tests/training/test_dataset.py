from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.training.tiny import mark
from training.dataset import build_dataset, load_dataset
from training.dataset_report import label_correlations, write_dataset_report
from training.errors import DataError
from training.outputs import EXPORTED
from training.recipe import Recipe
from training.rows import Row
from training.scoring import score
from training.sources import HELD_OUT_SHARE
from training.text import content_key


def _rows(data: Path, probes: Path, out: Path) -> tuple[dict[str, Row], dict[str, Row]]:
    build_dataset(data, out, probes)
    built = load_dataset(out)
    return {row.text: row for row in built.train}, {row.text: row for row in built.dev}


def test_each_source_gives_what_it_was_rated_for_and_nothing_else(sources: tuple[Path, Path], tmp_path: Path) -> None:
    train, dev = _rows(*sources, tmp_path / "out")

    reddit = train[f"I said train {mark(3)}"]
    assert (reddit.emotions, reddit.valence, reddit.intimacy, reddit.tension) == ((3, 8), None, None, None)
    report = train[f"A train report, {mark(0)}"]
    assert (report.valence, report.arousal, report.dominance, report.intimacy) == (-0.25, 0.0, 0.5, None)
    question = dev[f"Do you dev ask {mark(0)}?"]
    assert (question.intimacy, question.valence, question.emotions) == (-0.4, None, None)
    film = train[f"Go, train {mark(4)}!"]
    assert (film.xed, film.emotions, film.tension) == ((4,), None, None)
    probe = next(row for row in (*train.values(), *dev.values()) if row.text == f"you and me, {mark(8)}")
    assert (probe.valence, probe.intimacy, probe.tension) == pytest.approx((-0.2, -0.3, -0.4))
    assert probe.provenance == ("probes/mixed.jsonl:9",)


def test_a_content_of_the_development_split_never_enters_training(sources: tuple[Path, Path], tmp_path: Path) -> None:
    data, probes = sources
    with (data / "xed/train.tsv").open("a") as file:
        file.write(f"I SAID dev -- {mark(5)} !\t1\n")

    train, dev = _rows(data, probes, tmp_path / "out")

    assert content_key(f"i said dev {mark(5)}") not in {row.key for row in train.values()}
    assert not {row.key for row in train.values()} & {row.key for row in dev.values()}
    assert load_dataset(tmp_path / "out").manifest["dropped"]["train"] == {"xed: in dev": 1}


def test_a_content_in_two_sources_becomes_one_row_with_the_targets_of_both(
    sources: tuple[Path, Path], tmp_path: Path
) -> None:
    data, probes = sources
    with (data / "xed/train.tsv").open("a") as file:
        file.write(f"i said train {mark(7)}\t2\nI said train {mark(7)}.\t3\n")

    train, _ = _rows(data, probes, tmp_path / "out")

    row = train[f"I said train {mark(7)}"]
    assert (row.source, row.emotions, row.xed) == ("goemotions", (7, 12), (2,))
    assert row.provenance == ("goemotions/train.tsv:id7", "xed/train.tsv:25")
    assert load_dataset(tmp_path / "out").manifest["dropped"]["train"] == {"xed: repeated": 1}


def test_a_near_duplicate_of_a_development_row_never_enters_training(
    sources: tuple[Path, Path], tmp_path: Path
) -> None:
    data, probes = sources
    text = "We waited at the old harbour wall until the last of the fishing boats came home"
    with (data / "xed/dev.tsv").open("a") as file:
        file.write(f"{text} .\t1\n")
    with (data / "xed/train.tsv").open("a") as file:
        file.write(f"{text} again .\t1\n")
    with (data / "goemotions/train.tsv").open("a") as file:
        file.write(f"Oh, {text.lower()}!\t1\tid99\n")

    train, _ = _rows(data, probes, tmp_path / "out")

    assert not [row for row in train.values() if "fishing boats" in row.text]
    dropped = load_dataset(tmp_path / "out").manifest["dropped"]["train"]
    assert dropped == {"goemotions: nearly in dev": 1, "xed: nearly in dev": 1}


def test_a_label_is_capped_but_no_row_of_a_rare_one_is_lost(sources: tuple[Path, Path], tmp_path: Path) -> None:
    data, probes = sources
    with (data / "goemotions/train.tsv").open("a") as file:
        for number in range(24, 60):
            file.write(f"Neutral {mark(number)}\t27{',26' if number == 59 else ''}\tid{number}\n")

    build_dataset(data, tmp_path / "out", probes, cap_per_label=10)
    built = load_dataset(tmp_path / "out")

    counts = Counter(label for row in built.train for label in row.emotions or ())
    assert counts[27] in (10, 11)
    # One from the rows that were there, and the one that would be neutral otherwise.
    assert counts[26] == 2
    assert all(counts[label] for label in range(24))
    assert built.manifest["dropped"]["train"] == {"goemotions: beyond the cap": 36 + 1 - counts[27]}
    assert built.manifest["cap_per_label"] == 10


def test_the_report_says_how_sources_labels_and_axes_are_balanced(dataset: Path) -> None:
    write_dataset_report(dataset, load_dataset(dataset), Recipe())

    report = (dataset / "report.md").read_text(encoding="utf-8")
    assert "| goemotions | 24 | 24 | 1.000 |" in report
    assert "24 training rows carry more than one label, and keep all." in report
    assert "| valence | emobank | 24 |" in report
    assert (dataset / "report.png").stat().st_size > 0


def test_a_correlation_needs_rows_that_carry_both_axes() -> None:
    both = [Row(f"{n}", "t", "probes", (), valence=n / 40, intimacy=-n / 40) for n in range(40)]
    one = [Row(f"x{n}", "t", "emobank", (), valence=n / 40, arousal=0.1) for n in range(40)]

    table = label_correlations(both + one)

    assert table[0, 1] == pytest.approx(-1)
    assert np.isnan(table[0, 2])
    # Arousal never varies.
    assert np.isnan(table[0, 3])


def test_probes_in_the_held_out_folder_are_development_rows_and_change_no_other(
    sources: tuple[Path, Path], tmp_path: Path
) -> None:
    data, probes = sources
    before = build_dataset(data, tmp_path / "before", probes)
    (probes / "held_out").mkdir()
    line = {"text": "I saw the ferry leave.", "archetype": "flat_numb", "valence": -0.2, "intimacy": 0, "tension": -0.3}
    (probes / "held_out/flat_numb.jsonl").write_text(json.dumps(line) + "\n")

    after = build_dataset(data, tmp_path / "after", probes)

    assert after["rows_sha256"]["train"] == before["rows_sha256"]["train"]
    added = [row for row in load_dataset(tmp_path / "after").dev if row.text == line["text"]]
    assert [row.provenance for row in added] == [("probes/held_out/flat_numb.jsonl:1",)]
    assert len(load_dataset(tmp_path / "after").dev) == len(load_dataset(tmp_path / "before").dev) + 1
    assert "probes/held_out/flat_numb.jsonl" in after["files_sha256"]


def test_probes_are_held_out_by_their_content_alone(sources: tuple[Path, Path], tmp_path: Path) -> None:
    train, dev = _rows(*sources, tmp_path / "out")

    held_out = [row for row in dev.values() if row.source == "probes"]
    assert held_out
    assert all(int(row.key, 16) % HELD_OUT_SHARE == 0 for row in held_out)
    assert all(int(row.key, 16) % HELD_OUT_SHARE for row in train.values() if row.source == "probes")


def test_the_halves_of_the_cross_fit_both_hold_probes(sources: tuple[Path, Path], tmp_path: Path) -> None:
    """Both are chosen by the content key; chosen by the same digits, one half would hold all the probes."""
    build_dataset(sources[0], tmp_path / "out")
    held_out = [row for row in load_dataset(tmp_path / "out").dev if row.source == "probes"]

    halves = score(np.zeros((len(held_out), EXPORTED)), held_out).halves

    assert 0.3 < halves.mean() < 0.7


def test_building_twice_gives_the_same_bytes(sources: tuple[Path, Path], tmp_path: Path) -> None:
    for name in ("one", "two"):
        build_dataset(sources[0], tmp_path / name, sources[1])

    for file in ("train.jsonl", "dev.jsonl", "manifest.json"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()


def test_a_missing_folder_is_named_and_the_option_too(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"goemotions/train\.tsv is not in .*nowhere; .*--data"):
        build_dataset(tmp_path / "nowhere", tmp_path / "out")


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("goemotions/labels.txt", "anger\nadmiration\n", "other labels"),
        ("goemotions/train.tsv", "fine\t28\tid\n", "line 1 does not read .* outside 0 to 27"),
        ("question_intimacy/val.tsv", "no score\n", r"val\.tsv, line 1"),
        ("emobank/dev.csv", "id,V,A,text\na,3,3,hi\n", "does not read as EmoBank"),
    ],
)
def test_a_file_in_another_form_is_refused_by_name(
    sources: tuple[Path, Path], tmp_path: Path, file: str, content: str, message: str
) -> None:
    (sources[0] / file).write_text(content)

    with pytest.raises(DataError, match=message):
        build_dataset(sources[0], tmp_path / "out", sources[1])


@pytest.mark.parametrize("line", ['{"text": "hi"}', '{"text": "hi", "archetype": "a", "valence": 2}', "no json"])
def test_a_line_that_is_no_probe_is_refused_by_its_number(
    sources: tuple[Path, Path], tmp_path: Path, line: str
) -> None:
    (sources[1] / "bad.jsonl").write_text(line + "\n")

    with pytest.raises(DataError, match=r"probes/bad\.jsonl, line 1 is not a probe"):
        build_dataset(sources[0], tmp_path / "out", sources[1])


def test_a_built_set_that_was_edited_is_refused(dataset: Path) -> None:
    with (dataset / "train.jsonl").open("a") as file:
        file.write("{}\n")

    with pytest.raises(DataError, match="not what its manifest says"):
        load_dataset(dataset)


def test_a_row_gains_only_what_it_lacks() -> None:
    row = Row("k", "t", "emobank", ("a:1",), valence=0.5)

    assert row.completed_by(replace(row, valence=-1.0)) is None
    completed = row.completed_by(Row("k", "t", "xed", ("b:2",), xed=(1,), valence=-1.0))
    assert completed == Row("k", "t", "emobank", ("a:1", "b:2"), xed=(1,), valence=0.5)


def test_the_committed_probes_read_and_keep_to_their_guidelines(sources: tuple[Path, Path], tmp_path: Path) -> None:
    build_dataset(sources[0], tmp_path / "out")
    built = load_dataset(tmp_path / "out")
    probes = [row for row in (*built.train, *built.dev) if row.source == "probes"]

    counts = Counter(row.archetype for row in probes)
    assert len(counts) == 12
    assert min(counts.values()) >= 60
    for row in probes:
        assert all(round(10 * v) == pytest.approx(10 * v) for v in (row.valence, row.intimacy, row.tension) if v)
