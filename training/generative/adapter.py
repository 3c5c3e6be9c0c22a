"""A language model's adapter in one safetensors file, with llama.cpp's tensor names and row order.

`blk.N.<layer>.lora_a` [rank, in] and `.lora_b` [out, rank] are float16. The file's metadata holds `lora_scale`, alpha over rank.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np

from training.adapter import Adapter, Array
from training.errors import ModelError
from training.generative.tensors import LAYER_NAMES, heads_to_reorder, in_llama_order

_NAME = re.compile(r"(?:.+\.)?layers\.(\d+)\.(.+)\.lora_([AB])(?:\.\w+)?\.weight")


def adapter_from_training(
    state: Mapping[str, Array], scale: float, architecture: str, heads: int, key_heads: int
) -> Adapter:
    """Take PEFT's adapter tensors (as NumPy arrays) into llama.cpp's names and order.

    B's rows are the layer's outputs, so they are reordered as the layer's own rows are.
    """
    halves: dict[str, dict[str, Array]] = {}
    for name, value in state.items():
        found = _NAME.fullmatch(name)
        if found is None or found[2] not in LAYER_NAMES:
            raise ModelError(f"The adapter changes {name}, which cannot be written into a GGUF.")
        layer = LAYER_NAMES[found[2]]
        tensor: Array = value.astype(np.float16)
        if found[3] == "B" and (count := heads_to_reorder(architecture, layer, heads, key_heads)):
            tensor = in_llama_order(tensor, count)
        halves.setdefault(f"blk.{found[1]}.{layer}", {})[found[3]] = tensor
    return Adapter({name: (pair["A"], pair["B"]) for name, pair in halves.items()}, {}, scale)
