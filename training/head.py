"""A head's folder: `adapter.safetensors`, and `head.json`, which says everything else about it.

`head.json` is written by `calibrate`, completed by `evaluate`, and read by every command that makes a GGUF.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from services.affect_head.window import ContextRule
from training.errors import ModelError
from training.gguf_file import WeightType
from training.outputs import AXES, AXIS_ACTIVATION, EMOTIONS
from training.text import NORMALIZER

HEAD_FILE = "head.json"
REPORT_FILE = "report.md"
PLOT_FILES = ("curves.png", "reliability.png", "archetypes.png", "types.png")
SCORES_FILE = "report.json"
SCHEMA_VERSION = 2
CONFIDENCE_TOLERANCE = 0.25
"""Confidence is the probability that a reading lies within this of what people would say."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """What turns raw outputs into decisions: fitted on the development split."""

    version: str
    """Names the method and the rows that it was fitted on."""
    emotion_thresholds: list[float]
    """For each emotion, the probability from which it counts as voiced."""
    sigma_scale: list[float]
    """For each axis, the factor on the predicted deviation that makes it match the errors."""
    confidence_weights: list[list[float]]
    """For each axis, the weights of 1, ln(deviation), |valence|, |intimacy| and |tension| in the logistic rule that gives
    its confidence (`training.calibration.axis_confidence`)."""


@dataclass(frozen=True, slots=True)
class Head:
    """The contents of `head.json`."""

    head_id: str
    base_sha256: str
    """Of the base's `model.safetensors`."""
    adapter_sha256: str
    calibration: Calibration
    provenance: dict[str, Any]
    """The recipe, the base, and the data with its licences, counts and hashes; goes into the GGUF as JSON."""
    default_type: WeightType
    max_tokens: int
    """Longest text seen in training, in tokens."""
    gguf_sha256: dict[str, str] = field(default_factory=dict)
    """Of the GGUF in each weight type."""
    metrics: dict[str, dict[str, float]] = field(default_factory=dict)
    """Development scores in each weight type, measured through llama.cpp."""
    context_rule: ContextRule | None = None
    """When the served head reads an earlier turn beside the words; None: never."""
    context: dict[str, float] = field(default_factory=dict)
    """What earlier turns do to the readings (`training.context_pairs`), at the default type."""
    tokenization: dict[str, int] = field(default_factory=dict)
    """Of the whole data set's `texts`, how many llama.cpp cuts in a `differing` way from the base's own tokenizer."""
    history: list[dict[str, Any]] = field(default_factory=list)
    """The training's losses and development scores by epoch, in PyTorch."""


def save_head(folder: Path, head: Head) -> None:
    """Write `head.json`, with the labels and axes spelled out for its readers."""
    fixed = {
        "schema_version": SCHEMA_VERSION, "emotions": EMOTIONS, "axes": AXES, "axis_activation": AXIS_ACTIVATION,
        "normalizer": NORMALIZER, "confidence_tolerance": CONFIDENCE_TOLERANCE,
    }  # fmt: skip
    text = json.dumps(fixed | asdict(head), indent=1)
    (folder / HEAD_FILE).write_text(text + "\n", encoding="ascii")


def load_head(folder: Path) -> Head:
    """Read `head.json`.

    Raises:
        ModelError: if it is missing, or describes a head of another kind than this code makes.
    """
    path = folder / HEAD_FILE
    if not path.is_file():
        raise ModelError(f"{path} is missing: `python -m training calibrate` writes it when a run is done.")
    try:
        values = json.loads(path.read_text(encoding="ascii"))
        expected = (SCHEMA_VERSION, list(EMOTIONS), list(AXES), AXIS_ACTIVATION, NORMALIZER, CONFIDENCE_TOLERANCE)
        names = ("schema_version", "emotions", "axes", "axis_activation", "normalizer", "confidence_tolerance")
        for name, wanted in zip(names, expected, strict=True):
            if values.pop(name) != wanted:
                raise ModelError(f"{path} has another {name} than this version of the code makes.")
        rule = values.get("context_rule")
        return Head(
            **values
            | {
                "calibration": Calibration(**values["calibration"]),
                "context_rule": None if rule is None else ContextRule(**rule),
            }
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(f"{path} does not describe a head: {error}.") from error
