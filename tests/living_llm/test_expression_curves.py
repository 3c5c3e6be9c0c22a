"""What the documents show of expression.toml is what it says."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from typer.testing import CliRunner

from limbic.cli import app
from services.living_llm.expression_curves import curves, effects_table
from services.living_llm.expression_table import HORMONES, load_table

ROOT = Path(__file__).parents[2]
TABLE = load_table()


def test_each_effect_rises_or_falls_and_never_both() -> None:
    points = [float(point) for point in range(-50, 51)]

    for one in curves(TABLE, points):
        for hormone, values in one.by_hormone.items():
            effect = getattr(getattr(TABLE.sampling, one.name).effects, hormone)
            steps = [after - before for before, after in itertools.pairwise(values)]
            assert all(step * effect >= 0.0 for step in steps)
            assert any(steps) == bool(effect)
            assert values[50] == one.base


def test_the_document_shows_the_table_as_it_is() -> None:
    document = (ROOT / "docs" / "living-llm.md").read_text("utf-8")
    _, _, rest = document.partition("<!-- sampling: held to expression.toml by a test -->\n")
    shown, end, _ = rest.partition("\n<!-- end of sampling -->")

    assert end
    assert shown.splitlines() == effects_table(TABLE)


def test_the_documents_plot_is_current(tmp_path: Path) -> None:
    drawn = CliRunner().invoke(app, ["expression", "plot", "--output", str(tmp_path / "expression.png")])

    assert drawn.exit_code == 0
    assert (tmp_path / "expression.png").read_bytes() == (ROOT / "docs" / "plots" / "expression.png").read_bytes()


def test_an_svg_has_the_same_bytes_each_time(tmp_path: Path) -> None:
    for name in ("one.svg", "two.svg"):
        CliRunner().invoke(app, ["expression", "plot", "--output", str(tmp_path / name)])

    one, two = (tmp_path / name for name in ("one.svg", "two.svg"))
    assert one.read_bytes() == two.read_bytes()
    # Every hormone has a column.
    assert one.stat().st_size > 10_000 * len(HORMONES)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("bad.toml",), "expression.toml: "),
        (("nowhere.toml",), "nowhere.toml cannot be read"),
        (("--output", "plot.bmp"), ".png or .svg"),
    ],
)
def test_what_cannot_be_drawn_is_refused(
    arguments: tuple[str, ...], told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bad.toml").write_text("most_words = 3\n")

    refused = CliRunner().invoke(app, ["expression", "plot", *arguments])

    assert refused.exit_code == 1
    assert told in refused.stderr
    assert not (tmp_path / "expression.svg").exists()
