from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from training.cli import app
from training.dataset import PROBE_FOLDER
from training.errors import DataError
from training.probe_check import ARCHETYPES, RELATIONS, check_probes


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the committed probes, to be tampered with."""
    return Path(shutil.copytree(PROBE_FOLDER, tmp_path / "probes"))


def _edit(path: Path, number: int, **changes: object) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    lines[number] = json.dumps(json.loads(lines[number]) | changes)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def test_the_committed_probes_keep_to_their_guidelines() -> None:
    found = check_probes()

    assert found.faults == ()
    assert all(f"| {name} |" in found.report for name in (*ARCHETYPES, *RELATIONS))
    guidelines = (PROBE_FOLDER / "GUIDELINES.md").read_text(encoding="utf-8")
    assert all(f"`{name}`" in guidelines for name in (*ARCHETYPES, *RELATIONS))


def test_every_kind_of_fault_is_named_with_its_line(folder: Path) -> None:
    warm = folder / "warm_open.jsonl"
    texts = [json.loads(line)["text"] for line in warm.read_text(encoding="utf-8").splitlines()]
    _edit(warm, 1, valence=0.75)
    _edit(warm, 2, relation="nemesis")
    _edit(warm, 3, archetype="flat_numb")
    _edit(warm, 4, text=texts[5].upper() + " !!")
    _edit(warm, 6, text="..")
    long = max(range(10, len(texts)), key=lambda n: len(texts[n]))
    _edit(warm, 7, text="Well, " + texts[long])

    faults = check_probes(folder).faults

    assert sorted(faults) == sorted(
        [
            "warm_open.jsonl:2: valence is 0.75, which is no multiple of 0.1",
            "warm_open.jsonl:3 names no known relation but 'nemesis'",
            "warm_open.jsonl:4 is of archetype flat_numb, in the file of warm_open",
            "warm_open.jsonl:6 says the same as warm_open.jsonl:5",
            "warm_open.jsonl:7 holds no letter",
            f"warm_open.jsonl:{long + 1} nearly repeats warm_open.jsonl:8",
        ]
    )


def test_an_archetype_with_too_few_rows_is_a_fault(folder: Path) -> None:
    lines = (folder / "quiet_grief.jsonl").read_text(encoding="utf-8").splitlines()
    # Fourteen more are held out, in a file of their own.
    (folder / "quiet_grief.jsonl").write_text("\n".join(lines[:45]), encoding="utf-8")

    assert check_probes(folder).faults == ("quiet_grief has 59 rows, and 60 are needed",)


def test_the_command_reports_and_refuses(folder: Path) -> None:
    good = CliRunner().invoke(app, ["probes", "--folder", str(folder)])
    assert good.exit_code == 0
    assert "52 context pairs." in good.output

    _edit(folder / "warm_open.jsonl", 2, relation="nemesis")
    bad = CliRunner().invoke(app, ["probes", "--folder", str(folder)])
    assert isinstance(bad.exception, DataError)
    assert str(bad.exception) == "1 faults in the probes: warm_open.jsonl:3 names no known relation but 'nemesis'."


def test_no_probes_at_all_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="No probes"):
        check_probes(tmp_path)
