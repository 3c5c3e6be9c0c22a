"""What docs/training.md says in tables is what the code and the committed head say."""

from __future__ import annotations

import re
from pathlib import Path

from training.base import base_folder
from training.cli import COMMITTED_HEAD, app
from training.export import assemble
from training.head import load_head

ROOT = Path(__file__).parents[2]
DOCS = (ROOT / "docs" / "training.md").read_text(encoding="utf-8")
HEAD = COMMITTED_HEAD


def test_every_command_is_described() -> None:
    described = set(re.findall(r"^\| `python -m training ([a-z-]+)`", DOCS, re.MULTILINE))

    names = {command.name or command.callback.__name__ for command in app.registered_commands if command.callback}
    assert described == names


def test_every_key_of_the_head_is_described() -> None:
    described = set(re.findall(r"^\| `(affect\.[a-z_.]+)`", DOCS, re.MULTILINE))

    model = assemble(HEAD, load_head(HEAD), base_folder())
    assert described == {key for key in model.fields if key.startswith("affect.")}


def test_the_rows_of_each_source_are_those_that_the_head_saw() -> None:
    names = {"GoEmotions": "goemotions", "EmoBank": "emobank", "question intimacy": "question_intimacy", "XED": "xed"}
    names["probes (`training/probes/`)"] = "probes"
    described = {
        names[name]: (int(train.replace(",", "")), int(dev.replace(",", "")))
        for name, train, dev in re.findall(r"^\| ([^|]+) \| ([\d,]+) \| ([\d,]+) \|", DOCS, re.MULTILINE)
    }

    sources = load_head(HEAD).provenance["sources"]
    assert described == {source["name"]: (source["train"], source["dev"]) for source in sources}
