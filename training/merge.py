"""Base and adapter to one full set of float32 tensors, the same bits on any CPU.

`W + scale * B @ A` in floating point usually depends on the order of summation, so on the BLAS and the machine. Here it
does not: A and B are float16, so every product of two is a multiple of 2**-48 (float16's smallest step is 2**-24), and
as long as the sums stay below 2**5 they fit float64's 53 bits. Every partial sum is then exact, in whatever order. The
scale is a power of two; adding the base rounds once to float64, and the result rounds once to float32.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import safe_open

from training.adapter import LAYER_NAMES, Adapter
from training.errors import ModelError

Tensors = dict[str, NDArray[np.float32]]

_EXACT_BELOW = 2.0**5

_EMBEDDING_NAMES = {
    "embeddings.word_embeddings": "token_embd",
    "embeddings.position_embeddings": "position_embd",
    "embeddings.token_type_embeddings": "token_types",
    "embeddings.LayerNorm": "token_embd_norm",
}
_BLOCK_NAMES = LAYER_NAMES | {
    "attention.output.LayerNorm": "attn_output_norm",
    "output.LayerNorm": "layer_output_norm",
}
_UNUSED = ("embeddings.position_ids", "pooler.dense.weight", "pooler.dense.bias")
"""The base's own pooler was trained for another task; our head takes its place."""


def gguf_tensor_name(name: str) -> str:
    """Return llama.cpp's name for a Hugging Face BERT tensor.

    Raises:
        ModelError: if BERT has no such tensor.
    """
    module, _, kind = name.rpartition(".")
    if module in _EMBEDDING_NAMES:
        return f"{_EMBEDDING_NAMES[module]}.{kind}"
    parts = module.removeprefix("encoder.layer.").split(".", 1)
    if len(parts) == 2 and parts[0].isdigit() and parts[1] in _BLOCK_NAMES:
        return f"blk.{parts[0]}.{_BLOCK_NAMES[parts[1]]}.{kind}"
    raise ModelError(f"The base holds a tensor that a BERT encoder does not have: {name}.")


def load_base(weights: Path) -> Tensors:
    """Read the base encoder's `model.safetensors` under llama.cpp's names."""
    with safe_open(weights, framework="np") as file:
        names = sorted(set(file.keys()) - set(_UNUSED))
        return {gguf_tensor_name(name): file.get_tensor(name).astype(np.float32) for name in names}


def merge(base: Tensors, adapter: Adapter) -> Tensors:
    """Return the base's tensors with the adapter's changes and the head's own tensors added.

    Raises:
        ModelError: if the adapter does not fit the base, or could not be merged exactly.
    """
    if math.frexp(adapter.scale)[0] != 0.5:
        raise ModelError(f"The adapter's scale, {adapter.scale}, is no power of two, so the merge would not be exact.")
    merged = dict(base)
    for layer, (a, b) in adapter.lora.items():
        name = f"{layer}.weight"
        if name not in base or base[name].shape != (b.shape[0], a.shape[1]) or a.shape[0] != b.shape[1]:
            raise ModelError(f"The adapter changes {name}, which the base does not have in that shape.")
        merged[name] = (base[name].astype(np.float64) + adapter.scale * _exact_product(layer, a, b)).astype(np.float32)
    return merged | {name: value.astype(np.float32) for name, value in adapter.head.items()}


def _exact_product(layer: str, a: NDArray[np.generic], b: NDArray[np.generic]) -> NDArray[np.float64]:
    if a.dtype != np.float16 or b.dtype != np.float16:
        raise ModelError(f"The adapter's {layer} is not float16, so it could not be merged exactly.")
    wide_a, wide_b = a.astype(np.float64), b.astype(np.float64)
    # Not a number compares false, so it is refused as well.
    if not float((np.abs(wide_b) @ np.abs(wide_a)).max()) < _EXACT_BELOW:
        raise ModelError(f"The adapter's {layer} is too large to be merged exactly.")
    product: NDArray[np.float64] = wide_b @ wide_a
    return product
