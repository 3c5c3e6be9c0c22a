"""A Qwen3 checkpoint of two narrow layers with random weights, as Hugging Face saves one: config, weights, tokenizer, chat template."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from transformers import Qwen3Config, Qwen3ForCausalLM

from tests.affect_head.tiny_language_model import CHAT_TEMPLATE, CONTROL, MERGES, USER_DEFINED, vocabulary


def write_tiny_qwen3(folder: Path, *, tied: bool = True) -> Qwen3ForCausalLM:
    """Write the checkpoint and return its model. Rows are 256 values wide, so that K-quantization applies."""
    torch.manual_seed(3)
    tokens = vocabulary()
    config = Qwen3Config(
        vocab_size=len(tokens), hidden_size=256, intermediate_size=512, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, head_dim=64, max_position_embeddings=2048, tie_word_embeddings=tied,
        eos_token_id=tokens.index("<|im_end|>"), pad_token_id=tokens.index("<|endoftext|>"), bos_token_id=None,
        initializer_range=0.08, attn_implementation="eager",
    )  # fmt: skip
    model = Qwen3ForCausalLM(config).eval()
    model.save_pretrained(folder)
    plain = len(tokens) - len(CONTROL) - len(USER_DEFINED)
    tokenizer = {
        "added_tokens": [
            {"id": number, "content": token, "special": token in CONTROL} for number, token in enumerate(tokens) if number >= plain
        ],
        "model": {
            "type": "BPE",
            "vocab": {token: number for number, token in enumerate(tokens[:plain])},
            "merges": [merge.split(" ") for merge in MERGES],
        },
    }  # fmt: skip
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>", "chat_template": CHAT_TEMPLATE})
    )
    return model
