"""Make a generative head's GGUF from its folder and its base: no torch, no data."""

from __future__ import annotations

import shutil
from pathlib import Path

from training.adapter import ADAPTER_FILE
from training.errors import IntegrityError, ModelError
from training.generative.base import open_base
from training.generative.export import assemble_generative
from training.generative.record import is_generative, load_record
from training.gguf_file import WeightType, write_whole
from training.hashing import file_sha256
from training.head import HEAD_FILE, PLOT_FILES, REPORT_FILE
from training.logs import logger

CONVERTED_BASE = "base-f16.gguf"
"""Where a checkpoint's GGUF lies in the folder of the run that was trained on it."""


def export_generative(folder: Path, out: Path, weights: WeightType, base: str = "") -> None:
    """Merge a head's adapter into its base and write the whole model.

    Args:
        folder: the head's folder.
        out: the GGUF to write.
        weights: the type of its matrices.
        base: where the base lies now; empty: where it lay when it was trained.

    Raises:
        ModelError: the head's folder is not whole, or the base is not there.
        IntegrityError: the base or the adapter is another than `head.json` speaks of.
    """
    record = load_record(folder)
    converted = folder / CONVERTED_BASE
    if not converted.is_file():
        # Not into a committed head's folder.
        converted = out.with_name(f"{record.head_id}-{CONVERTED_BASE}")
    found = open_base(base or record.base, converted)
    write_whole(out, assemble_generative(folder, record, found), weights)


def build_generative(folder: Path, models: Path) -> Path:
    """Build a committed head's GGUF in its default type, verify it, and return its path.

    A file that is already there with the right SHA-256 is left alone.

    Raises:
        ModelError: the head's folder is not whole, or its base is not installed.
        IntegrityError: the base, the adapter or the built file has another SHA-256 than recorded.
    """
    record = load_record(folder)
    expected = record.gguf_sha256.get(record.default_type)
    if expected is None:
        raise ModelError(
            f"{folder / 'head.json'} records no SHA-256 for {record.default_type}; `evaluate` records them."
        )
    target = models / f"affect-head-{record.head_id}-{record.default_type.lower()}.gguf"
    if target.is_file() and file_sha256(target) == expected:
        logger.info("%s is there already and has the SHA-256 that was recorded", target)
        return target
    export_generative(folder, target, record.default_type)
    if (digest := file_sha256(target)) != expected:
        target.unlink()
        raise IntegrityError(
            f"The built {record.default_type} file has SHA-256 {digest}, but {expected} was recorded; it was not installed. "
            "Check that numpy and gguf have the pinned versions."
        )
    logger.info("%s: %.1f MB, SHA-256 verified", target, target.stat().st_size / 1e6)
    return target


def promote_generative(run: Path, heads: Path) -> Path:
    """Copy an evaluated head into the folder of committed heads and return where it went.

    There are no gates: none of these is the default, and the card says what each is worth.

    Raises:
        ModelError: the run was not evaluated, or its name is that of a head of the other kind.
    """
    record = load_record(run)
    if record.default_type not in record.metrics:
        raise ModelError(f"{run} was not evaluated at {record.default_type}; run `python -m training evaluate` first.")
    target = heads / record.head_id
    if (target / HEAD_FILE).is_file() and not is_generative(target):
        raise ModelError(f"{target} is an encoder's; calibrate {run} with another --head-id.")
    target.mkdir(parents=True, exist_ok=True)
    for name in (ADAPTER_FILE, HEAD_FILE, REPORT_FILE, PLOT_FILES[0]):
        shutil.copyfile(run / name, target / name)
    return target
