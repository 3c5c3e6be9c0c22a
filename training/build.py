"""Make the committed head's GGUF on the machine that serves it: no torch, no data, the bits that were measured."""

from __future__ import annotations

import tempfile
from pathlib import Path

from training.base import BASE_SHA256, base_folder
from training.errors import IntegrityError, ModelError
from training.export import assemble
from training.gguf_file import WeightType, write_gguf
from training.hashing import file_sha256
from training.head import load_head
from training.logs import logger

HEADS = Path(__file__).parent / "heads"


def built_path(models: Path, head_id: str, weights: WeightType) -> Path:
    """Return where a head's GGUF lies in the folder of built models."""
    return models / f"affect-head-{head_id}-{weights.lower()}.gguf"


def build_head(folder: Path, models: Path, weights: WeightType | None = None) -> Path:
    """Build a head's GGUF from its folder and the installed base, verify it, and return its path.

    A file that is already there with the right SHA-256 is left alone. The file appears whole or not at all.

    Args:
        folder: the head's folder (`adapter.safetensors` and `head.json`).
        models: where the GGUF goes; made if missing.
        weights: the type of its matrices; the head's own default if None.

    Raises:
        ModelError: if the base is not installed, or the head's folder is not whole.
        IntegrityError: if the base, the adapter or the built file has another SHA-256 than recorded.
    """
    head = load_head(folder)
    chosen = weights or head.default_type
    expected = head.gguf_sha256.get(chosen)
    if expected is None:
        raise ModelError(f"{folder / 'head.json'} records no SHA-256 for {chosen}; `evaluate` records them.")
    target = built_path(models, head.head_id, chosen)
    if target.is_file() and file_sha256(target) == expected:
        logger.info("%s is there already and has the SHA-256 that was recorded", target)
        return target
    if head.base_sha256 != BASE_SHA256:
        raise IntegrityError(f"{folder / 'head.json'} was trained on another base than this code installs.")
    logger.info("merging the adapter of %s into the base encoder and writing %s", head.head_id, chosen)
    model = assemble(folder, head, base_folder())
    models.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=models, prefix=".building-") as scratch:
        fresh = Path(scratch) / target.name
        write_gguf(fresh, model, chosen)
        if (digest := file_sha256(fresh)) != expected:
            raise IntegrityError(
                f"The built {chosen} file has SHA-256 {digest}, but {expected} was recorded; it was not installed. "
                "Check that numpy and gguf have the pinned versions."
            )
        fresh.replace(target)
    logger.info("%s: %.1f MB, SHA-256 verified", target, target.stat().st_size / 1e6)
    return target
