"""What a head adds to its base, in one small safetensors file with llama.cpp's tensor names.

`blk.N.<layer>.lora_a` [rank, in] and `.lora_b` [out, rank] are float16, `cls.*` (the head, exported rows only) are
float32. The file's metadata holds `lora_scale`, alpha over rank.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from training.errors import ModelError
from training.outputs import EXPORTED

ADAPTER_FILE = "adapter.safetensors"

LAYER_NAMES = {
    "attention.self.query": "attn_q",
    "attention.self.key": "attn_k",
    "attention.self.value": "attn_v",
    "attention.output.dense": "attn_output",
    "intermediate.dense": "ffn_up",
    "output.dense": "ffn_down",
}
"""A block's linear layers: Hugging Face's name to llama.cpp's."""

HEAD_TENSORS = ("cls.weight", "cls.bias", "cls.output.weight", "cls.output.bias")

Array = NDArray[np.generic]


@dataclass(frozen=True, slots=True)
class Adapter:
    """Low-rank changes to the base, and the head."""

    lora: dict[str, tuple[Array, Array]]
    """llama.cpp's name of a layer (`blk.0.attn_q`) to its A [rank, in] and B [out, rank], both float16."""
    head: dict[str, Array]
    """`HEAD_TENSORS`, float32."""
    scale: float
    """Alpha over rank: the factor of B @ A."""


def adapter_from_training(state: Mapping[str, Array], scale: float) -> Adapter:
    """Take the trained tensors (`AffectNetwork.trained_state` as NumPy arrays) and leave the auxiliary rows out."""
    halves: dict[str, dict[str, Array]] = {}
    for name, value in state.items():
        if name.startswith("lora."):
            path, kind = name.split(".encoder.layer.", 1)[1].rsplit(".lora_", 1)
            block, layer = path.split(".", 1)
            target = halves.setdefault(f"blk.{block}.{LAYER_NAMES[layer]}", {})
            target[kind.split(".")[0]] = value.astype(np.float16)
    head = {
        "cls.weight": state["dense.weight"], "cls.bias": state["dense.bias"],
        "cls.output.weight": state["output.weight"][:EXPORTED], "cls.output.bias": state["output.bias"][:EXPORTED],
    }  # fmt: skip
    return Adapter(
        {name: (pair["A"], pair["B"]) for name, pair in halves.items()},
        {name: np.ascontiguousarray(value, dtype=np.float32) for name, value in head.items()},
        scale,
    )


def save_adapter(path: Path, adapter: Adapter) -> None:
    """Write the adapter; equal adapters give equal bytes."""
    tensors: dict[str, Array] = dict(adapter.head)
    for name, (a, b) in adapter.lora.items():
        tensors[f"{name}.lora_a"], tensors[f"{name}.lora_b"] = a, b
    save_file(dict(sorted(tensors.items())), path, metadata={"lora_scale": repr(adapter.scale)})


def load_adapter(path: Path, head_tensors: Sequence[str] = HEAD_TENSORS) -> Adapter:
    """Read an adapter.

    Args:
        path: as `save_adapter` wrote it.
        head_tensors: the head's tensors that it must hold; a language model's adapter holds none.

    Raises:
        ModelError: if the file is missing or is no adapter of this kind.
    """
    if not path.is_file():
        raise ModelError(f"{path} is missing: a head's folder holds {ADAPTER_FILE} and head.json.")
    try:
        with safe_open(path, framework="np") as file:
            scale = float((file.metadata() or {})["lora_scale"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no iterator)
        head = {name: tensors[name] for name in head_tensors}
        layers = [name.removesuffix(".lora_a") for name in tensors if name.endswith(".lora_a")]
        lora = {name: (tensors[f"{name}.lora_a"], tensors[f"{name}.lora_b"]) for name in layers}
    except (SafetensorError, KeyError, ValueError) as error:
        raise ModelError(f"{path} is not a head's adapter: {error}.") from error
    return Adapter(lora, head, scale)
