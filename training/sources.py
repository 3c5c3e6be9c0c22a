"""Readers of the five sources, one function each: files in their published form to rows with provenance.

Nothing is inferred. GoEmotions carries emotions and no axis, question intimacy carries intimacy alone; a table from
labels to axes would bake one axis into another (the predecessor's had valence and tension at -0.84).
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from training.errors import DataError
from training.outputs import AXES, EMOTIONS, XED_LABELS
from training.rows import Row
from training.text import content_key, to_ascii

HELD_OUT_SHARE = 10
"""One probe in this many is held out, chosen by its content key, so by nobody."""


@dataclass(frozen=True, slots=True)
class Source:
    """A data set: where its splits are, how they are read, and what may be done with them."""

    name: str
    licence: str
    citation: str
    files: dict[str, tuple[str, ...]]
    """Split name to the files it is read from, relative to the data folder (probes: to the probe folder)."""
    read: Callable[[Path, str], Iterator[Row]]
    """Reads one file; the string is the file's name for the provenance."""
    label_file: str = ""
    labels: tuple[str, ...] = ()
    """The labels file must hold exactly these, or ids would silently mean something else."""


def _row(source: str, text: str, place: str, **targets: object) -> Row:
    ascii_text = to_ascii(text)
    return Row(key=content_key(ascii_text), text=ascii_text, source=source, provenance=(place,), **targets)  # type: ignore[arg-type]


def _lines(path: Path) -> Iterator[tuple[int, list[str]]]:
    with path.open(encoding="utf-8", newline="") as file:
        for number, line in enumerate(file, 1):
            yield number, line.rstrip("\r\n").split("\t")


def _label_ids(field: str, count: int) -> tuple[int, ...]:
    ids = tuple(int(part) for part in field.split(","))
    if not all(0 <= index < count for index in ids):
        raise ValueError(f"a label id outside 0 to {count - 1}: {field}")
    return ids


def _checked(path: Path, name: str, parse: Callable[[list[str], str], Row]) -> Iterator[Row]:
    for number, fields in _lines(path):
        try:
            yield parse(fields, f"{name}:{number}")
        except (ValueError, IndexError) as error:
            raise DataError(f"{name}, line {number} does not read as it should: {error}.") from error


def read_goemotions(path: Path, name: str) -> Iterator[Row]:
    """Read `text TAB label ids TAB comment id`, keeping every label."""
    return _checked(
        path, name,
        lambda f, place: _row("goemotions", f[0], f"{name}:{f[2]}", emotions=_label_ids(f[1], len(EMOTIONS))),
    )  # fmt: skip


def read_question_intimacy(path: Path, name: str) -> Iterator[Row]:
    """Read `text TAB score`, the score already -1 to 1."""
    return _checked(path, name, lambda f, place: _row("question_intimacy", f[0], place, intimacy=float(f[1])))


def read_xed(path: Path, name: str) -> Iterator[Row]:
    """Read `text TAB label ids`, closing up the space that the corpus put before punctuation and around hyphens."""

    def parse(fields: list[str], place: str) -> Row:
        text = re.sub(r" ([,.;:?!])", r"\1", fields[0]).replace(" - ", "-")
        return _row("xed", text, place, xed=_label_ids(fields[1], len(XED_LABELS)))

    return _checked(path, name, parse)


def read_emobank(path: Path, name: str) -> Iterator[Row]:
    """Read EmoBank's CSV; each dimension's 1 to 5 becomes -1 to 1."""
    with path.open(encoding="utf-8", newline="") as file:
        for record in csv.DictReader(file):
            try:
                valence, arousal, dominance = ((float(record[axis]) - 3) / 2 for axis in "VAD")
                place = f"{name}:{record['id']}"
                yield _row("emobank", record["text"], place, valence=valence, arousal=arousal, dominance=dominance)
            except (KeyError, TypeError, ValueError) as error:
                raise DataError(f"{name} does not read as EmoBank does (id, V, A, D, text): {error}.") from error


def read_probes(path: Path, name: str) -> Iterator[Row]:
    """Read one probe a line: `text`, `archetype` and all three axes, each -1 to 1."""
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                record = json.loads(line)
                axes = {axis: float(record[axis]) for axis in AXES}
                if not all(-1 <= value <= 1 for value in axes.values()):
                    raise ValueError("an axis outside -1 to 1")
                yield _row("probes", record["text"], f"{name}:{number}", archetype=record["archetype"], **axes)
            except (KeyError, TypeError, ValueError) as error:
                raise DataError(f"{name}, line {number} is not a probe: {error}.") from error


PUBLIC_SOURCES: tuple[Source, ...] = (
    Source(
        "goemotions", "CC BY 4.0", "Demszky et al., GoEmotions, ACL 2020",
        {"train": ("goemotions/train.tsv",), "dev": ("goemotions/dev.tsv",)},
        read_goemotions, "goemotions/labels.txt", EMOTIONS,
    ),
    Source(
        "emobank", "CC BY-SA 4.0", "Buechel and Hahn, EmoBank, EACL 2017",
        {"train": ("emobank/train.csv",), "dev": ("emobank/dev.csv",)}, read_emobank,
    ),
    Source(
        "question_intimacy", "MIT", "Pei and Jurgens, Quantifying Intimacy in Language, EMNLP 2020",
        {"train": ("question_intimacy/train.tsv",), "dev": ("question_intimacy/val.tsv",)}, read_question_intimacy,
    ),
    Source(
        "xed", "CC BY 4.0", "Oehman et al., XED, COLING 2020 (English annotations)",
        {"train": ("xed/train.tsv",), "dev": ("xed/dev.tsv",)}, read_xed, "xed/labels.txt", XED_LABELS,
    ),
)  # fmt: skip
"""The published sets, in the order in which a row shared by several is named."""

PROBES = Source("probes", "Apache-2.0", "Limbic, training/probes (written for this head)", {}, read_probes)
"""The archetype probes of this repository; their split is by content key, not by file."""
