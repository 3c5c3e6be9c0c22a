"""The head's network in NumPy, from the formulas, to compare llama.cpp's outputs with."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tests.affect_head.tiny_head import HeadSpec, random_weights

Array = NDArray[np.float64]


def forward(spec: HeadSpec, ids: list[int]) -> Array:
    """Return the raw outputs [outputs] for token ids: BERT with token type 0 everywhere, mean, dense, tanh, linear."""
    weights = {name: value.astype(np.float64) for name, value in random_weights(spec).items()}

    def linear(name: str, x: Array) -> Array:
        return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]

    def norm(name: str, x: Array) -> Array:
        centred = x - x.mean(-1, keepdims=True)
        scaled: Array = centred / np.sqrt(centred.var(-1, keepdims=True) + 1e-12)
        return scaled * weights[f"{name}.weight"] + weights[f"{name}.bias"]

    def heads(x: Array) -> Array:
        return x.reshape(len(ids), spec.attention_heads, -1).transpose(1, 0, 2)

    x = (
        weights["token_embd.weight"][ids]
        + weights["position_embd.weight"][: len(ids)]
        + weights["token_types.weight"][0]
    )
    x = norm("token_embd_norm", x)
    for layer in range(spec.layers):
        block = f"blk.{layer}"
        query, key, value = (heads(linear(f"{block}.attn_{part}", x)) for part in "qkv")
        scores = query @ key.transpose(0, 2, 1) / np.sqrt(query.shape[-1])
        shares = np.exp(scores - scores.max(-1, keepdims=True))
        mixed = (shares / shares.sum(-1, keepdims=True)) @ value
        attended = linear(f"{block}.attn_output", mixed.transpose(1, 0, 2).reshape(len(ids), -1))
        x = norm(f"{block}.attn_output_norm", x + attended)
        inner = linear(f"{block}.ffn_up", x)
        inner = 0.5 * inner * (1 + np.tanh(np.sqrt(2 / np.pi) * (inner + 0.044715 * inner**3)))
        x = norm(f"{block}.layer_output_norm", x + linear(f"{block}.ffn_down", inner))
    outputs: Array = linear("cls.output", np.tanh(linear("cls", x.mean(0))))
    return outputs
