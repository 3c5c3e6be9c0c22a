"""The language model as it is trained: LoRA on every matrix of every block, and a loss on the digits alone."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from peft import LoraConfig, get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict
from torch import nn
from torch.nn import functional
from transformers import AutoModelForCausalLM
from transformers.utils import logging as transformers_logging

from training.generative.batches import TreeBatch
from training.generative.recipe import GenerativeRecipe
from training.generative.tensors import LAYER_NAMES
from training.gguf_file import read_number


class DigitNetwork(nn.Module):  # type: ignore[misc]  # torch is untyped here
    """A LoRA-adapted causal language model that is asked three questions."""

    def __init__(self, model: nn.Module, recipe: GenerativeRecipe, levels: tuple[int, ...]) -> None:
        """Put adapters into `model`, frozen otherwise; draws from torch's generator.

        Args:
            model: a causal language model of transformers.
            recipe: rank and precision.
            levels: the id of each level's digit, lowest first.
        """
        super().__init__()
        config = LoraConfig(
            r=recipe.lora_rank,
            lora_alpha=recipe.lora_alpha,
            target_modules=[name.rpartition(".")[2] for name in LAYER_NAMES],
            bias="none",
            task_type="CAUSAL_LM",
        )
        with warnings.catch_warnings():
            # PEFT reads a transformers attribute under its old name; nothing of ours uses it.
            warnings.filterwarnings(
                "ignore", message="`is_gradient_checkpointing` is deprecated", category=FutureWarning
            )
            self.adapted = get_peft_model(model, config)
        self.bfloat16 = recipe.bfloat16
        digits = model.get_output_embeddings().weight[list(levels)].detach().float().clone()
        self.register_buffer("digits", digits, persistent=False)

    def forward(self, batch: TreeBatch) -> torch.Tensor:
        """Return the digits' logits after each question, float32 [rows, 3, levels]."""
        # Only the digits' rows of the output matrix are multiplied, for three tokens of a row; all others would be thrown away.
        body = self.adapted.get_base_model().model
        kind = torch.bfloat16 if self.bfloat16 else torch.float32
        hidden_from = torch.zeros(batch.visible.shape, dtype=kind).masked_fill_(~batch.visible, torch.finfo(kind).min)
        with torch.autocast(batch.ids.device.type, dtype=torch.bfloat16, enabled=self.bfloat16):
            hidden = body(
                input_ids=batch.ids,
                attention_mask=hidden_from[:, None],
                position_ids=batch.positions,
                use_cache=False,
            ).last_hidden_state
        rows = torch.arange(len(batch.ids))[:, None]
        logits: torch.Tensor = hidden[rows, batch.ends].float() @ self.digits.T
        return logits

    def trained_state(self) -> dict[str, torch.Tensor]:
        """Return what training changes, under PEFT's names."""
        state: dict[str, torch.Tensor] = get_peft_model_state_dict(self.adapted, save_embedding_layers=False)
        return state

    def load_trained_state(self, state: dict[str, torch.Tensor]) -> None:
        """Put back what `trained_state` returned."""
        set_peft_model_state_dict(self.adapted, state)


def load_language_model(path: Path, bfloat16: bool) -> nn.Module:
    """Load a whole GGUF into transformers, dequantized.

    Attention is written out ("eager"): it takes the mask of a tree, and under bfloat16 on a CPU it is the fastest.
    """
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    # Of a qwen3 file, transformers does not read the heads' width, and takes 128.
    width = read_number(path, "attention.key_length")
    return AutoModelForCausalLM.from_pretrained(
        str(path.parent),
        gguf_file=path.name,
        dtype=torch.bfloat16 if bfloat16 else torch.float32,
        attn_implementation="eager",
        **({"head_dim": width} if width else {}),
    )


def soft_targets(axes: torch.Tensor, levels: int) -> torch.Tensor:
    """Return for labels in -1 to 1 [...] the distribution over levels [..., levels] whose expected value is the label.

    Only the two digits around a label share it. A wider target would be easier to learn, but its mean is drawn inwards at the ends,
    and its width would be taken for the uncertainty of what people say.
    """
    place = (axes.clamp(-1, 1) + 1) * (levels - 1) / 2
    distances = (place[..., None] - torch.arange(levels, dtype=axes.dtype)).abs()
    return (1 - distances).clamp(min=0)


def digit_loss(logits: torch.Tensor, axes: torch.Tensor) -> torch.Tensor:
    """Return the mean cross-entropy [] of the digits' logits [rows, 3, levels] over the labels that rows carry (others are NaN)."""
    rated = ~axes.isnan()
    targets = soft_targets(axes.nan_to_num(), logits.shape[-1])
    losses = -(targets * functional.log_softmax(logits, dim=-1)).sum(-1)
    return (losses * rated).sum() / rated.sum().clamp(min=1)


def as_arrays(state: dict[str, torch.Tensor]) -> dict[str, NDArray[np.generic]]:
    """Return tensors as float32 NumPy arrays."""
    return {name: value.detach().float().numpy() for name, value in state.items()}
