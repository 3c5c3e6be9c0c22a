"""Makes language models with random weights: real GGUF of architecture `qwen3`, `llama` or `gemma3`, small enough for a test.

The vocabulary is byte-level, so every text can be written. Rows are 256 values wide, so that K-quantization applies.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from numpy.typing import NDArray

WIDTH, FEED_FORWARD, POSITIONS = 256, 512, 2048


@dataclass(frozen=True)
class Shape:
    """What differs between architectures."""

    layers: int = 2
    heads: int = 4
    key_heads: int = 2
    head_width: int = 64
    norms: tuple[str, ...] = ("attn_norm", "ffn_norm")
    head_norms: tuple[str, ...] = ()
    fields: Mapping[str, int] = field(default_factory=dict)


SHAPES = {
    "llama": Shape(),
    "qwen3": Shape(head_norms=("attn_q_norm", "attn_k_norm")),
    # Six layers are five with a sliding window and one without; transformers scales by a head's width of 256, whatever the file says.
    "gemma3": Shape(
        layers=6, heads=1, key_heads=1, head_width=256,
        norms=("attn_norm", "post_attention_norm", "ffn_norm", "post_ffw_norm"), head_norms=("attn_q_norm", "attn_k_norm"),
        fields={"attention.sliding_window": 16},
    ),
}  # fmt: skip
CONTROL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
USER_DEFINED = ("<think>", "</think>")

CHAT_TEMPLATE = """\
{%- for message in messages %}
    {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
    {%- if enable_thinking is defined and enable_thinking is false %}
        {{- '<think>\\n\\n</think>\\n\\n' }}
    {%- endif %}
{%- endif %}
"""
"""Qwen3's, cut down to what a single message uses."""


def byte_letters() -> list[str]:
    """Return for each byte the character that stands for it in byte-level vocabularies (GPT-2's table)."""
    shown = [*range(33, 127), *range(161, 173), *range(174, 256)]
    hidden = [byte for byte in range(256) if byte not in shown]
    letters = {byte: chr(byte) for byte in shown} | {byte: chr(256 + place) for place, byte in enumerate(hidden)}
    return [letters[byte] for byte in range(256)]


def vocabulary() -> list[str]:
    """Return the tokens in the order of their ids."""
    return [*byte_letters(), "th", "he", *CONTROL, *USER_DEFINED]


MERGES = ["t h", "h e"]


def random_tensors(architecture: str, seed: int = 11) -> dict[str, NDArray[np.float32]]:
    """Draw a model's tensors under llama.cpp's names, matrices as [outputs, inputs]; the token table is the output as well."""
    random = np.random.default_rng(seed)

    def matrix(outputs: int, inputs: int) -> NDArray[np.float32]:
        return random.normal(0, 1.5 / np.sqrt(inputs), (outputs, inputs)).astype(np.float32)

    def norm(width: int) -> NDArray[np.float32]:
        return (1 + random.normal(0, 0.1, width)).astype(np.float32)

    tensors = {
        "token_embd.weight": random.normal(0, 0.1, (len(vocabulary()), WIDTH)).astype(np.float32),
        "output_norm.weight": norm(WIDTH),
    }
    shape = SHAPES[architecture]
    queries, keys = shape.heads * shape.head_width, shape.key_heads * shape.head_width
    for block in (f"blk.{layer}" for layer in range(shape.layers)):
        sizes = {
            "attn_q": (queries, WIDTH), "attn_k": (keys, WIDTH), "attn_v": (keys, WIDTH), "attn_output": (WIDTH, queries),
            "ffn_gate": (FEED_FORWARD, WIDTH), "ffn_up": (FEED_FORWARD, WIDTH), "ffn_down": (WIDTH, FEED_FORWARD),
        }  # fmt: skip
        tensors |= {f"{block}.{name}.weight": matrix(*size) for name, size in sizes.items()}
        tensors |= {f"{block}.{name}.weight": norm(WIDTH) for name in shape.norms}
        tensors |= {f"{block}.{name}.weight": norm(shape.head_width) for name in shape.head_norms}
    return tensors


def head_fields() -> dict[str, Any]:
    """Return what the file of a trained head says about itself."""
    return {
        "affect.schema_version": 1,
        "affect.kind": "generative",
        "affect.head_id": "tiny-generative",
        "affect.axes": ["valence", "intimacy", "tension"],
        "affect.calibration.version": "test-1",
        "affect.calibration.sigma_scale": [1.0, 1.5, 2.0],
        "affect.calibration.confidence_tolerance": 0.25,
        "affect.context_turns": 2,
        "affect.normalizer": "ascii-v1",
        "affect.generative.opening": "How?\n",
        "affect.generative.turn_opening": "before: ",
        "affect.generative.turn_closing": "\n",
        "affect.generative.closing": "\n",
        "affect.generative.questions": ["pleasant:", "close:", "tense:"],
        "affect.generative.levels": [str(level) for level in range(1, 10)],
        "affect.generative.reason": "why:",
        "affect.generative.reason_tokens": 12,
        "affect.provenance": "{}",
    }


def write_language_model(
    path: Path, architecture: str = "qwen3", fields: Mapping[str, Any] | None = None, *, tensors: bool = True
) -> Path:
    """Write a model's file and return its path.

    Args:
        path: where.
        architecture: one of `SHAPES`.
        fields: what the file says beyond what any such model says; None as a value leaves a field out.
        tensors: whether it has any weights.
    """
    writer = gguf.GGUFWriter(path, architecture)
    for key, value in (_model_fields(architecture) | dict(fields or {})).items():
        if value is not None:
            _add(writer, key, value)
    writer.add_token_list(vocabulary())
    kinds = [
        *[1] * (len(vocabulary()) - len(CONTROL) - len(USER_DEFINED)),
        *[3] * len(CONTROL),
        *[4] * len(USER_DEFINED),
    ]
    writer.add_token_types(kinds)
    writer.add_token_merges(MERGES)
    if tensors:
        for name, tensor in random_tensors(architecture).items():
            writer.add_tensor(name, tensor)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _model_fields(architecture: str) -> dict[str, Any]:
    shape = SHAPES[architecture]
    sizes = {
        "block_count": shape.layers, "context_length": POSITIONS, "embedding_length": WIDTH,
        "feed_forward_length": FEED_FORWARD, "attention.head_count": shape.heads,
        "attention.head_count_kv": shape.key_heads, "attention.key_length": shape.head_width,
        "attention.value_length": shape.head_width, "attention.layer_norm_rms_epsilon": 1e-6,
        "rope.freq_base": 10_000.0, "rope.dimension_count": shape.head_width, "vocab_size": len(vocabulary()),
    }  # fmt: skip
    return {f"{architecture}.{name}": value for name, value in (sizes | dict(shape.fields)).items()} | {
        "general.type": "model",
        "general.file_type": 0,
        "general.quantization_version": 2,
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "qwen2",
        "tokenizer.ggml.add_bos_token": False,
        "tokenizer.ggml.eos_token_id": vocabulary().index("<|im_end|>"),
        "tokenizer.ggml.padding_token_id": vocabulary().index("<|endoftext|>"),
    }


def _add(writer: gguf.GGUFWriter, key: str, value: Any) -> None:
    if isinstance(value, bool):
        writer.add_bool(key, value)
    elif isinstance(value, int):
        writer.add_uint32(key, value)
    elif isinstance(value, float):
        writer.add_float32(key, value)
    elif isinstance(value, str):
        writer.add_string(key, value)
    else:
        writer.add_array(key, list(value))
