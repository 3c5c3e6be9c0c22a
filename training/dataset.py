"""Merge the sources into one training set and one development set that share no content.

The folder that `build_dataset` writes holds `train.jsonl`, `dev.jsonl` and `manifest.json` (what went in, what was
dropped and why, and the SHA-256 of every file, so that a head can say exactly what it learned from).

The published sets keep their published splits, so that a score can be compared with others'. The probes are split by a
hash of their content, but for those in a folder of their own that are all held out.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from training.errors import DataError
from training.hashing import file_sha256
from training.near_duplicates import near_duplicates
from training.outputs import EMOTIONS
from training.rows import Row, read_rows, write_rows
from training.sources import HELD_OUT_SHARE, PROBES, PUBLIC_SOURCES, Source

SPLITS = ("dev", "train")
"""Development rows are placed first: content seen there never enters training."""

PROBE_FOLDER = Path(__file__).parent / "probes"
HELD_OUT_FOLDER = "held_out"
"""In the probes' folder: files of which every row is a development row, written later to measure more sharply."""

CAP_PER_LABEL = 8_000
"""Of GoEmotions' 28 labels only neutral has more rows in training, 13,961 of them, and it is the one that says least."""


@dataclass(frozen=True, slots=True)
class Dataset:
    """Both splits and the manifest, as read back from a built folder."""

    train: list[Row]
    dev: list[Row]
    manifest: dict[str, Any]


def build_dataset(
    data: Path, out: Path, probes: Path = PROBE_FOLDER, cap_per_label: int = CAP_PER_LABEL
) -> dict[str, Any]:
    """Build the training set under `out` and return its manifest.

    Args:
        data: the folder with one folder for each published set.
        out: where the three files go; made if missing.
        probes: the folder with the archetype probes (`*.jsonl`).
        cap_per_label: most training rows of one emotion; a row stays while any of its labels has room.

    Raises:
        DataError: if a file is missing, or does not read as its set does.
    """
    found = [_check_public(source, data) for source in PUBLIC_SOURCES]
    probe_files = {f"probes/{name}": path for name, path in probe_files_in(probes).items()}
    if not probe_files:
        raise DataError(f"No probes (*.jsonl) in {probes}; they are part of the repository, under training/probes.")
    hashes = {name: file_sha256(path) for files in found for name, path in files.items()}
    hashes |= {name: file_sha256(path) for name, path in probe_files.items()}

    kept: dict[str, dict[str, Row]] = {split: {} for split in SPLITS}
    dropped: dict[str, Counter[str]] = {split: Counter() for split in SPLITS}
    for split in SPLITS:
        taken = kept["dev"] if split == "train" else {}
        _merge(_rows_of(split, data, probe_files), kept[split], taken, dropped[split])
    _drop_near_duplicates(kept["dev"], kept["train"], dropped["train"])
    _cap(kept["train"], cap_per_label, dropped["train"])
    out.mkdir(parents=True, exist_ok=True)
    manifest: dict[str, Any] = {
        "sources": [], "files_sha256": hashes, "cap_per_label": cap_per_label, "dropped": {}, "rows_sha256": {}
    }  # fmt: skip
    for split in SPLITS:
        write_rows(out / f"{split}.jsonl", kept[split].values())
        manifest["dropped"][split] = dict(sorted(dropped[split].items()))
        manifest["rows_sha256"][split] = file_sha256(out / f"{split}.jsonl")
    counts = {split: Counter(row.source for row in kept[split].values()) for split in SPLITS}
    for source in (*PUBLIC_SOURCES, PROBES):
        rows = {split: counts[split][source.name] for split in SPLITS}
        manifest["sources"].append(
            {"name": source.name, "licence": source.licence, "citation": source.citation, **rows}
        )
    (out / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n", encoding="ascii")
    return manifest


def probe_files_in(folder: Path) -> dict[str, Path]:
    """Return the probes' files by their names below `folder`, those that are all held out last."""
    held_out = folder / HELD_OUT_FOLDER
    return {str(path.relative_to(folder)): path for part in (folder, held_out) for path in sorted(part.glob("*.jsonl"))}


def load_dataset(folder: Path) -> Dataset:
    """Read a built folder back.

    Raises:
        DataError: if a file is missing, or no longer is what the manifest says.
    """
    path = folder / "manifest.json"
    if not path.is_file():
        raise DataError(f"{folder} holds no built data set; `python -m training dataset` makes one.")
    manifest = json.loads(path.read_text(encoding="ascii"))
    for split, digest in manifest["rows_sha256"].items():
        file = folder / f"{split}.jsonl"
        if not file.is_file() or file_sha256(file) != digest:
            raise DataError(f"{file} is not what its manifest says; build the data set again.")
    return Dataset(list(read_rows(folder / "train.jsonl")), list(read_rows(folder / "dev.jsonl")), manifest)


def _check_public(source: Source, data: Path) -> dict[str, Path]:
    names = [name for files in source.files.values() for name in files]
    paths = {name: data / name for name in (*names, *([source.label_file] if source.label_file else []))}
    for name, path in paths.items():
        if not path.is_file():
            raise DataError(f"{name} is not in {data}; give the folder that holds the data sets with --data.")
    if source.label_file:
        labels = tuple(paths[source.label_file].read_text(encoding="utf-8").split())
        if labels != source.labels:
            raise DataError(f"{source.label_file} lists other labels, or in another order, than the head has.")
    return paths


def _rows_of(split: str, data: Path, probe_files: dict[str, Path]) -> Iterator[Row]:
    # Probes come first: where a probe shares its words with a public row, it is sampled as a probe.
    for name, path in probe_files.items():
        whole_file = path.parent.name == HELD_OUT_FOLDER
        for row in PROBES.read(path, name):
            held_out = whole_file or (row.key != "" and int(row.key, 16) % HELD_OUT_SHARE == 0)
            if held_out == (split == "dev"):
                yield row
    for source in PUBLIC_SOURCES:
        for published in source.files[split]:
            yield from source.read(data / published, published)


def _merge(rows: Iterable[Row], kept: dict[str, Row], taken: dict[str, Row], dropped: Counter[str]) -> None:
    """Add rows to `kept` by content; a content already there only gains the targets that it lacks."""
    for row in rows:
        if not row.key:
            dropped[f"{row.source}: no content"] += 1
        elif row.key in taken:
            dropped[f"{row.source}: in dev"] += 1
        elif row.key not in kept:
            kept[row.key] = row
        elif (completed := kept[row.key].completed_by(row)) is not None:
            kept[row.key] = completed
        else:
            dropped[f"{row.source}: repeated"] += 1


def _drop_near_duplicates(dev: dict[str, Row], train: dict[str, Row], dropped: Counter[str]) -> None:
    """Drop from `train` what nearly repeats a development row or an earlier training row, and count it."""
    rows = [*dev.values(), *train.values()]
    for index, earlier in near_duplicates([row.text for row in rows]).items():
        if index >= len(dev):
            place = "in dev" if earlier < len(dev) else "repeated"
            dropped[f"{rows[index].source}: nearly {place}"] += 1
            del train[rows[index].key]


def _cap(train: dict[str, Row], cap: int, dropped: Counter[str]) -> None:
    """Drop rows all of whose emotions have `cap` rows already; which ones come first is decided by their keys."""
    counts = [0] * len(EMOTIONS)
    for row in sorted(train.values(), key=lambda row: row.key):
        if row.emotions is None:
            continue
        if any(counts[label] < cap for label in row.emotions):
            for label in row.emotions:
                counts[label] += 1
        elif row == Row(row.key, row.text, row.source, row.provenance, emotions=row.emotions):
            dropped[f"{row.source}: beyond the cap"] += 1
            del train[row.key]
