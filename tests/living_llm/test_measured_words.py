"""What the documents say of `benchmarks.words` is what was measured."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks._reading import Mean
from benchmarks._words import INTENDED, Measured, likelihoods_table, moved_table, plot, verdict
from benchmarks.words import _by_line
from limbic.runtime.models import known_models

ROOT = Path(__file__).parents[2]
PLOTS = ROOT / "docs" / "plots"
FILES = sorted(PLOTS.glob("words-*.json"))


def voices() -> list[Measured]:
    return [Measured.load(path) for path in FILES]


def shown(mark: str) -> list[str]:
    document = (ROOT / "docs" / "living-llm.md").read_text("utf-8")
    _, _, rest = document.partition(f"<!-- words, {mark}: held to docs/plots/words-*.json by a test -->\n")
    table, end, _ = rest.partition(f"\n<!-- end of words, {mark} -->")
    assert end
    return table.splitlines()


def test_the_document_shows_what_was_measured() -> None:
    found = voices()

    assert shown("by the head") == moved_table(found)
    assert shown("by likelihood") == likelihoods_table(found)


def test_the_plot_shows_what_was_measured(tmp_path: Path) -> None:
    plot(voices(), tmp_path / "words.svg")

    assert (tmp_path / "words.svg").read_bytes() == (PLOTS / "words.svg").read_bytes()


def test_enough_was_measured() -> None:
    for one in voices():
        assert one.lines >= 30
        assert len(one.readings) == 5
        assert INTENDED.keys() == one.moved.keys()
    assert voices()[0].voice in known_models()


def test_what_is_saved_is_what_is_loaded(tmp_path: Path) -> None:
    first = voices()[0]

    first.save(tmp_path / "again.json")

    assert Measured.load(tmp_path / "again.json") == first
    assert (tmp_path / "again.json").read_bytes() == FILES[0].read_bytes()


@pytest.mark.parametrize(
    ("low", "high", "sign", "said"),
    [
        (0.1, 0.3, 1, "as intended"),
        (-0.3, -0.1, -1, "as intended"),
        (0.1, 0.3, -1, "the other way"),
        (-0.1, 0.3, 1, "not shown"),
    ],
)
def test_a_reading_moved_only_if_its_interval_says_so(low: float, high: float, sign: int, said: str) -> None:
    assert verdict(Mean((low + high) / 2, low, high), sign) == said


def test_the_replies_to_one_line_count_as_one_value_and_an_empty_one_does_not_count() -> None:
    nothing = [np.nan] * 4
    # Two seeds of three lines.
    readings = np.array([[0.0] * 4, [1.0] * 4, nothing, [1.0] * 4, nothing, nothing])

    by_line = _by_line(readings, seeds=2)

    assert by_line[:, 0].tolist()[:2] == [0.5, 1.0]
    assert np.isnan(by_line[2]).all()
