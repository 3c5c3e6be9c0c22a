"""A generative head's folder: `adapter.safetensors`, and `head.json`, which says everything else about it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from training.errors import ModelError
from training.generative.recipe import NORMALIZER, WORDS
from training.gguf_file import WeightType
from training.head import CONFIDENCE_TOLERANCE, HEAD_FILE, SCHEMA_VERSION, Calibration
from training.outputs import AXES

KIND = "generative"
RUN_FILE = "run.json"


@dataclass(frozen=True, slots=True)
class GenerativeRecord:
    """The contents of `head.json`."""

    head_id: str
    base: str
    """A name in limbic/models.toml, or a path on the machine that trained it."""
    base_sha256: str
    """Of the base's GGUF."""
    adapter_sha256: str
    calibration: Calibration
    """As an encoder's, without thresholds for emotions."""
    provenance: dict[str, Any]
    """The recipe, the base, and the data with its licences, counts and hashes; goes into the GGUF as JSON."""
    default_type: WeightType
    reason_tokens: int = 0
    """Most tokens of a reason; 0: the head gives none."""
    gguf_sha256: dict[str, str] = field(default_factory=dict)
    """Of the GGUF in each weight type that is written the same to the bit on every machine."""
    metrics: dict[str, dict[str, float]] = field(default_factory=dict)
    """Development scores in each weight type, measured through the served head."""
    history: list[dict[str, Any]] = field(default_factory=list)
    """The training's losses and development scores by epoch, in PyTorch."""


def is_generative(folder: Path) -> bool:
    """Whether a run's or a head's folder is that of a generative head."""
    for name in (HEAD_FILE, RUN_FILE):
        if (folder / name).is_file():
            return bool(json.loads((folder / name).read_text(encoding="ascii")).get("kind") == KIND)
    return False


def save_record(folder: Path, record: GenerativeRecord) -> None:
    """Write `head.json`, with the prompt and the axes spelled out for its readers."""
    fixed = {
        "schema_version": SCHEMA_VERSION, "kind": KIND, "axes": AXES, "normalizer": NORMALIZER,
        "confidence_tolerance": CONFIDENCE_TOLERANCE, "prompt": asdict(WORDS),
    }  # fmt: skip
    (folder / HEAD_FILE).write_text(json.dumps(fixed | asdict(record), indent=1) + "\n", encoding="ascii")


def load_record(folder: Path) -> GenerativeRecord:
    """Read `head.json`.

    Raises:
        ModelError: if it is missing, or describes a head of another kind than this code makes.
    """
    path = folder / HEAD_FILE
    if not path.is_file():
        raise ModelError(f"{path} is missing: `python -m training calibrate` writes it when a run is done.")
    try:
        values = json.loads(path.read_text(encoding="ascii"))
        prompt = json.loads(json.dumps(asdict(WORDS)))
        expected = (SCHEMA_VERSION, KIND, list(AXES), NORMALIZER, CONFIDENCE_TOLERANCE, prompt)
        names = ("schema_version", "kind", "axes", "normalizer", "confidence_tolerance", "prompt")
        for name, wanted in zip(names, expected, strict=True):
            if values.pop(name) != wanted:
                raise ModelError(f"{path} has another {name} than this version of the code makes.")
        return GenerativeRecord(**values | {"calibration": Calibration(**values["calibration"])})
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(f"{path} does not describe a generative head: {error}.") from error
