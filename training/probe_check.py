"""Check the archetype probes against their guidelines, and say how they are balanced."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from training.context_pairs import PAIRS_FILE, read_pairs
from training.dataset import HELD_OUT_FOLDER, PROBE_FOLDER, probe_files_in
from training.dataset_report import label_correlations
from training.errors import DataError
from training.markdown import table
from training.near_duplicates import near_duplicates
from training.outputs import AXES
from training.rows import Row
from training.sources import HELD_OUT_SHARE, PROBES

ARCHETYPES = (
    "aggressive_distance", "fearful_urgent", "flat_numb", "hostile_intimacy", "neutral_close", "neutral_distance",
    "playful_neutral", "pleasant_distance", "quiet_grief", "safety_edge", "thrilled_tense", "warm_open",
)  # fmt: skip
RELATIONS = (
    "partner", "parent", "child", "sibling", "friend", "ex", "colleague", "boss", "customer", "stranger", "teacher",
    "patient", "machine", "public",
)  # fmt: skip
"""Both as `training/probes/GUIDELINES.md` lists them."""

LEAST_ROWS = 60


@dataclass(frozen=True, slots=True)
class ProbeCheck:
    """What was found: the faults, a sentence each, and the report as Markdown."""

    faults: tuple[str, ...]
    report: str


def check_probes(folder: Path = PROBE_FOLDER, pairs_file: Path = PAIRS_FILE) -> ProbeCheck:
    """Read all probe files and the context pairs.

    Raises:
        DataError: if a line does not read as a probe, or half a pair, or there are no probes.
    """
    faults: list[str] = []
    rows: list[Row] = []
    relations: Counter[str] = Counter()
    for name, path in probe_files_in(folder).items():
        found = list(PROBES.read(path, name))
        rows += found
        given = [
            json.loads(line).get("relation", "")
            for line in path.read_text(encoding="utf-8").splitlines()
            if line.strip()
        ]
        relations.update(given)
        for row, relation in zip(found, given, strict=True):
            faults += _faults(row, path.stem, relation)
    if not rows:
        raise DataError(f"No probes (*.jsonl) in {folder}.")
    first: dict[str, Row] = {}
    for row in rows:
        if row.key in first:
            faults.append(f"{row.provenance[0]} says the same as {first[row.key].provenance[0]}")
        first.setdefault(row.key, row)
    faults += [
        f"{rows[index].provenance[0]} nearly repeats {rows[earlier].provenance[0]}"
        for index, earlier in near_duplicates([row.text for row in rows]).items()
        if rows[index].key != rows[earlier].key
    ]
    counts = Counter(row.archetype for row in rows)
    faults += [
        f"{name} has {counts[name]} rows, and {LEAST_ROWS} are needed"
        for name in ARCHETYPES
        if counts[name] < LEAST_ROWS
    ]
    pairs = read_pairs(pairs_file)
    report = "\n\n".join((_archetypes(rows), _axes(rows), _relations(relations), f"{len(pairs)} context pairs."))
    return ProbeCheck(tuple(faults), report + "\n")


def _faults(row: Row, file: str, relation: str) -> list[str]:
    place = row.provenance[0]
    result = []
    if row.archetype not in ARCHETYPES or row.archetype != file:
        result.append(f"{place} is of archetype {row.archetype}, in the file of {file}")
    if relation not in RELATIONS:
        result.append(f"{place} names no known relation but {relation!r}")
    if not row.key:
        result.append(f"{place} holds no letter")
    for axis in AXES:
        value = getattr(row, axis)
        if abs(round(10 * value) - 10 * value) > 1e-6:
            result.append(f"{place}: {axis} is {value}, which is no multiple of 0.1")
    return result


def _archetypes(rows: list[Row]) -> str:
    lines = []
    for name in sorted({row.archetype or "" for row in rows}):
        own = [row for row in rows if row.archetype == name]
        held_out = sum(_held_out(row) for row in own)
        words = float(np.mean([len(row.text.split()) for row in own]))
        means = [f"{np.mean([getattr(row, axis) for row in own]):+.2f}" for axis in AXES]
        lines.append([name, len(own), held_out, words, *means])
    header = ["archetype", "rows", "held out", "words", *(f"mean {axis}" for axis in AXES)]
    return f"{len(rows)} probes.\n\n" + table(header, lines)


def _held_out(row: Row) -> bool:
    return row.provenance[0].startswith(f"{HELD_OUT_FOLDER}/") or int(row.key or "1", 16) % HELD_OUT_SHARE == 0


def _axes(rows: list[Row]) -> str:
    correlations = label_correlations(rows)[: len(AXES), : len(AXES)]
    lines = [[axis, *map(float, line)] for axis, line in zip(AXES, correlations, strict=True)]
    return "Correlations between the labels:\n\n" + table(["", *AXES], lines)


def _relations(relations: Counter[str]) -> str:
    return "Said to or by:\n\n" + table(["relation", "rows"], sorted(relations.items()))
