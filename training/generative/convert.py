"""A Hugging Face checkpoint's folder to a whole GGUF model: Qwen3, with the tokenizer that its `tokenizer.json` describes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from gguf import GGUFValueType, TokenType
from safetensors import safe_open

from training.errors import ModelError
from training.generative.tensors import gguf_tensor_name
from training.gguf_file import Field, GgufModel


def convert_folder(folder: Path) -> GgufModel:
    """Read a Qwen3 checkpoint.

    Raises:
        ModelError: the folder holds an adapter only, another architecture, or is not whole.
    """
    if not (folder / "config.json").is_file():
        if (folder / "adapter_config.json").is_file():
            raise ModelError(
                f"{folder} holds an adapter only (adapter_config.json). Load its base, merge it with PEFT's `merge_and_unload`, save the "
                "whole model with its tokenizer, and give that folder."
            )
        raise ModelError(f"{folder / 'config.json'} is missing: {folder} is no checkpoint of a language model.")
    config = _json(folder / "config.json")
    if (kind := config.get("model_type")) != "qwen3":
        raise ModelError(
            f"{folder} is of type {kind!r}; only qwen3 folders can be converted. Give any other model as a GGUF with its tokenizer."
        )
    try:
        fields = _model_fields(config) | _vocabulary_fields(folder, config)
    except KeyError as error:
        raise ModelError(f"{folder} does not describe a Qwen3: {error} is missing.") from error
    tensors = {}
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise ModelError(f"{folder} holds no weights (*.safetensors).")
    for path in files:
        with safe_open(path, framework="pt") as file:
            for name in file.keys():  # noqa: SIM118 (no iterator)
                # Tied embeddings are written once; llama.cpp takes the token table where there is no output.
                if not (config.get("tie_word_embeddings") and name == "lm_head.weight"):
                    tensors[gguf_tensor_name(name)] = file.get_tensor(name).to(torch.float32).numpy()
    return GgufModel("qwen3", fields, tensors)


def _json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} cannot be read: {error}.") from error
    if not isinstance(value, dict):
        raise ModelError(f"{path} is no JSON object.")
    return value


def _model_fields(config: dict[str, Any]) -> dict[str, Field]:
    heads = config["num_attention_heads"]
    head_width = config.get("head_dim") or config["hidden_size"] // heads
    # transformers 5 keeps the base of the rotation among the parameters, earlier ones beside them.
    rotation = config.get("rope_parameters") or config
    return {
        "general.type": Field.text("model"),
        "general.name": Field.text("Qwen3"),
        "qwen3.block_count": Field.u32(config["num_hidden_layers"]),
        "qwen3.context_length": Field.u32(config["max_position_embeddings"]),
        "qwen3.embedding_length": Field.u32(config["hidden_size"]),
        "qwen3.feed_forward_length": Field.u32(config["intermediate_size"]),
        "qwen3.attention.head_count": Field.u32(heads),
        "qwen3.attention.head_count_kv": Field.u32(config["num_key_value_heads"]),
        "qwen3.attention.key_length": Field.u32(head_width),
        "qwen3.attention.value_length": Field.u32(head_width),
        "qwen3.attention.layer_norm_rms_epsilon": Field.f32(config["rms_norm_eps"]),
        "qwen3.rope.freq_base": Field.f32(rotation["rope_theta"]),
    }


def _vocabulary_fields(folder: Path, config: dict[str, Any]) -> dict[str, Field]:
    tokenizer = _json(folder / "tokenizer.json")
    size = config["vocab_size"]
    # The table may be wider than the vocabulary; llama.cpp wants a token for each of its rows.
    tokens = [f"[PAD{number}]" for number in range(size)]
    types = [int(TokenType.UNUSED)] * size
    for token, number in tokenizer["model"]["vocab"].items():
        tokens[number], types[number] = token, int(TokenType.NORMAL)
    for added in tokenizer["added_tokens"]:
        tokens[added["id"]] = added["content"]
        types[added["id"]] = int(TokenType.CONTROL if added["special"] else TokenType.USER_DEFINED)
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in tokenizer["model"]["merges"]]
    settings = _json(folder / "tokenizer_config.json")
    fields = {
        "tokenizer.ggml.model": Field.text("gpt2"),
        "tokenizer.ggml.pre": Field.text("qwen2"),
        "tokenizer.ggml.tokens": Field.array(tokens, GGUFValueType.STRING),
        "tokenizer.ggml.token_type": Field.array(types, GGUFValueType.INT32),
        "tokenizer.ggml.merges": Field.array(merges, GGUFValueType.STRING),
        "tokenizer.ggml.add_bos_token": Field.flag(False),
        "tokenizer.ggml.eos_token_id": Field.u32(tokens.index(settings["eos_token"])),
        "tokenizer.ggml.padding_token_id": Field.u32(tokens.index(settings.get("pad_token") or settings["eos_token"])),
    }
    template_file = folder / "chat_template.jinja"
    template = template_file.read_text(encoding="utf-8") if template_file.is_file() else settings.get("chat_template")
    return fields | ({"tokenizer.chat_template": Field.text(template)} if template else {})
