"""What a layer is called in Hugging Face and in llama.cpp, and the order in which llama.cpp wants the rows of queries and keys.

Hugging Face rotates the two halves of a head against each other; llama.cpp's `llama` graph rotates neighbours (Meta's own order), so
in its files the rows of W_q and W_k are interleaved. `qwen3` keeps the halves, and its rows stay as they are.
"""

from __future__ import annotations

import re

import numpy as np
from numpy.typing import NDArray

from training.errors import ModelError

LAYER_NAMES = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
"""A block's matrices, all of which get an adapter."""

_OTHER_NAMES = {
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}
_TOP_NAMES = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}

_BLOCK = re.compile(r"model\.layers\.(\d+)\.(.+)")


def gguf_tensor_name(name: str) -> str:
    """Return llama.cpp's name for a Hugging Face Llama or Qwen3 tensor.

    Raises:
        ModelError: if neither has such a tensor.
    """
    module, _, kind = name.rpartition(".")
    if module in _TOP_NAMES:
        return f"{_TOP_NAMES[module]}.{kind}"
    names = LAYER_NAMES | _OTHER_NAMES
    if (found := _BLOCK.fullmatch(module)) and found[2] in names:
        return f"blk.{found[1]}.{names[found[2]]}.{kind}"
    raise ModelError(f"The checkpoint holds a tensor that a Llama or a Qwen3 does not have: {name}.")


def in_llama_order(rows: NDArray[np.generic], heads: int) -> NDArray[np.generic]:
    """Interleave the two halves of each head's rows: [heads × 2 × half, …] to [heads × half × 2, …]."""
    halves = rows.reshape(heads, 2, rows.shape[0] // heads // 2, *rows.shape[1:])
    return np.ascontiguousarray(halves.swapaxes(1, 2).reshape(rows.shape))


def heads_to_reorder(architecture: str, layer: str, heads: int, key_heads: int) -> int:
    """Return by how many heads a layer's rows are to be reordered for llama.cpp; 0: they stay."""
    if architecture != "llama":
        return 0
    return {"attn_q": heads, "attn_k": key_heads}.get(layer, 0)
