"""A head's folder and the base to one full, self-describing model."""

from __future__ import annotations

import json
from pathlib import Path

from gguf import GGUFValueType, TokenType

from services.affect_head.window import ContextRule
from training.adapter import ADAPTER_FILE, load_adapter
from training.base import Geometry, read_geometry
from training.errors import IntegrityError
from training.gguf_file import Field, GgufModel
from training.hashing import file_sha256
from training.head import CONFIDENCE_TOLERANCE, SCHEMA_VERSION, Calibration, Head
from training.merge import load_base, merge
from training.outputs import AXES, AXIS_ACTIVATION, EMOTIONS, EXPORTED_NAMES
from training.text import NORMALIZER

_POOLING_MEAN = 1
_POOLING_RANK = 4
_WORD_START = "\u2581"
_SPECIAL_TOKENS = {"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"}


def assemble(folder: Path, head: Head, base_folder: Path) -> GgufModel:
    """Merge the folder's adapter into the base and describe the result.

    Raises:
        IntegrityError: if the adapter is not the one that `head.json` speaks of.
    """
    adapter_file = folder / ADAPTER_FILE
    adapter = load_adapter(adapter_file)
    if (digest := file_sha256(adapter_file)) != head.adapter_sha256:
        raise IntegrityError(f"{adapter_file} has SHA-256 {digest}, but head.json names {head.adapter_sha256}.")
    tensors = merge(load_base(base_folder / "model.safetensors"), adapter)
    vocabulary = (base_folder / "vocab.txt").read_text(encoding="utf-8").splitlines()
    return GgufModel(
        "bert",
        _model_fields(read_geometry(base_folder)) | _vocabulary_fields(vocabulary) | _affect_fields(head),
        tensors,
    )


def assemble_encoder(base_folder: Path) -> GgufModel:
    """Describe the base alone, as the sentence encoder that it is: no adapter, no head, the mean over its tokens."""
    fields = _model_fields(read_geometry(base_folder))
    fields = {key: field for key, field in fields.items() if not key.startswith("bert.classifier.")}
    fields |= {
        "general.name": Field.text("all-MiniLM-L6-v2"),
        "bert.pooling_type": Field.u32(_POOLING_MEAN),
    }
    vocabulary = (base_folder / "vocab.txt").read_text(encoding="utf-8").splitlines()
    return GgufModel("bert", fields | _vocabulary_fields(vocabulary), load_base(base_folder / "model.safetensors"))


def _model_fields(sizes: Geometry) -> dict[str, Field]:
    return {
        "general.type": Field.text("model"),
        "general.name": Field.text("Limbic affect head"),
        "general.license": Field.text("apache-2.0"),
        "bert.block_count": Field.u32(sizes.num_hidden_layers),
        "bert.context_length": Field.u32(sizes.max_position_embeddings),
        "bert.embedding_length": Field.u32(sizes.hidden_size),
        "bert.feed_forward_length": Field.u32(sizes.intermediate_size),
        "bert.attention.head_count": Field.u32(sizes.num_attention_heads),
        "bert.attention.layer_norm_epsilon": Field.f32(sizes.layer_norm_eps),
        "bert.attention.causal": Field.flag(False),
        # RANK makes llama.cpp run the classification head; the second key says what the head is run on.
        "bert.pooling_type": Field.u32(_POOLING_RANK),
        "bert.classifier.pooling_type": Field.u32(_POOLING_MEAN),
        "bert.classifier.output_labels": Field.array(list(EXPORTED_NAMES), GGUFValueType.STRING),
    }


def _vocabulary_fields(vocabulary: list[str]) -> dict[str, Field]:
    """Write word pieces as llama.cpp wants them: `##x` continues as `x`, and a word's start carries a mark."""
    tokens, types = [], []
    for token in vocabulary:
        special = token in _SPECIAL_TOKENS
        if special:
            tokens.append(token)
        elif token.startswith("##"):
            tokens.append(token[2:])
        else:
            tokens.append(_WORD_START + token)
        types.append(int(TokenType.CONTROL if special else TokenType.NORMAL))
    return {
        "tokenizer.ggml.model": Field.text("bert"),
        "tokenizer.ggml.pre": Field.text("default"),
        "tokenizer.ggml.token_type_count": Field.u32(2),
        "tokenizer.ggml.tokens": Field.array(tokens, GGUFValueType.STRING),
        "tokenizer.ggml.token_type": Field.array(types, GGUFValueType.INT32),
        "tokenizer.ggml.unknown_token_id": Field.u32(vocabulary.index("[UNK]")),
        "tokenizer.ggml.bos_token_id": Field.u32(vocabulary.index("[CLS]")),
        "tokenizer.ggml.seperator_token_id": Field.u32(vocabulary.index("[SEP]")),
        "tokenizer.ggml.padding_token_id": Field.u32(vocabulary.index("[PAD]")),
        "tokenizer.ggml.cls_token_id": Field.u32(vocabulary.index("[CLS]")),
        "tokenizer.ggml.mask_token_id": Field.u32(vocabulary.index("[MASK]")),
        "tokenizer.ggml.normalizer.lowercase": Field.flag(True),
    }


def _affect_fields(head: Head) -> dict[str, Field]:
    calibration = head.calibration
    return {
        "affect.schema_version": Field.u32(SCHEMA_VERSION),
        "affect.head_id": Field.text(head.head_id),
        "affect.emotions": Field.array(list(EMOTIONS), GGUFValueType.STRING),
        "affect.emotion_thresholds": Field.array(calibration.emotion_thresholds, GGUFValueType.FLOAT32),
        "affect.axes": Field.array(list(AXES), GGUFValueType.STRING),
        "affect.axis_activation": Field.text(AXIS_ACTIVATION),
        **calibration_fields(calibration),
        **_context_fields(head.context_rule),
        "affect.max_tokens": Field.u32(head.max_tokens),
        "affect.normalizer": Field.text(NORMALIZER),
        "affect.provenance": Field.text(json.dumps(head.provenance, sort_keys=True, separators=(",", ":"))),
    }


def _context_fields(rule: ContextRule | None) -> dict[str, Field]:
    if rule is None:
        return {"affect.context_turns": Field.u32(0)}
    return {
        "affect.context_turns": Field.u32(rule.turns),
        "affect.context_text_tokens": Field.u32(rule.text_tokens),
        "affect.context_turn_tokens": Field.u32(rule.turn_tokens),
    }


def calibration_fields(calibration: Calibration) -> dict[str, Field]:
    """Return what both kinds of head say about how sure they are."""
    return {
        "affect.calibration.version": Field.text(calibration.version),
        "affect.calibration.sigma_scale": Field.array(calibration.sigma_scale, GGUFValueType.FLOAT32),
        "affect.calibration.confidence_weights": Field.array(
            [weight for weights in calibration.confidence_weights for weight in weights], GGUFValueType.FLOAT32
        ),
        "affect.calibration.confidence_tolerance": Field.f32(CONFIDENCE_TOLERANCE),
    }
