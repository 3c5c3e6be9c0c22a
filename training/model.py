"""The network as it is trained, which is the graph that llama.cpp runs for a BERT with a classification head.

Token types all zero, tanh-GELU, the mean over all tokens with [CLS] and [SEP] -> dense -> tanh -> linear.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from peft import LoraConfig, get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict
from torch import nn
from transformers import BertConfig, BertModel, PreTrainedModel
from transformers.utils import logging as transformers_logging

from training.outputs import EMOTION_COLUMNS, LOG_VARIANCE_COLUMNS, TRAINED
from training.recipe import Recipe

LORA_TARGETS = {"bert": ("query", "key", "value", "dense"), "mpnet": ("q", "k", "v", "o", "dense")}
"""By the encoder's kind every linear layer of every block: `dense` names the intermediate and the output layer, and BERT's
attention output."""

_INITIAL_LOG_VARIANCE = -3.0
"""A deviation of 0.22 in the beginning, about that of the ratings themselves."""


class AffectNetwork(nn.Module):  # type: ignore[misc]  # torch is untyped here
    """A LoRA-adapted encoder and the head on top of it.

    Attributes:
        exact_evaluation: compute in float32 outside training, whatever the recipe says of training.
    """

    def __init__(self, encoder: PreTrainedModel, recipe: Recipe) -> None:
        """Put adapters into `encoder` (frozen otherwise) and a new head onto it; draws from torch's generator."""
        super().__init__()
        width = encoder.config.hidden_size
        # No dropout inside the adapters: on a CPU its random numbers alone double a step's time, and the base's own
        # dropout stays on.
        config = LoraConfig(
            r=recipe.lora_rank,
            lora_alpha=recipe.lora_alpha,
            target_modules=list(LORA_TARGETS[encoder.config.model_type]),
            bias="none",
        )
        self.encoder = get_peft_model(encoder, config)
        self.dense = nn.Linear(width, width)
        self.output = nn.Linear(width, TRAINED)
        self.dropout = nn.Dropout(recipe.head_dropout)
        self.bfloat16 = recipe.bfloat16
        self.exact_evaluation = True
        with torch.no_grad():
            self.output.weight.mul_(0.1)
            self.output.bias.zero_()
            self.output.bias[LOG_VARIANCE_COLUMNS] = _INITIAL_LOG_VARIANCE

    def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Return raw outputs, float32 [rows, TRAINED], for int64 token ids and mask [rows, tokens]."""
        with torch.autocast(ids.device.type, dtype=torch.bfloat16, enabled=self._low_precision):
            hidden = self.encoder(input_ids=ids, attention_mask=mask).last_hidden_state
        weights = mask.unsqueeze(-1).float()
        pooled = (hidden.float() * weights).sum(1) / weights.sum(1)
        features = torch.tanh(self.dense(self.dropout(pooled)))
        outputs: torch.Tensor = self.output(self.dropout(features))
        return outputs

    @property
    def _low_precision(self) -> bool:
        return self.bfloat16 and (self.training or not self.exact_evaluation)

    def start_from_frequencies(self, emotions: np.ndarray) -> None:
        """Set the emotion biases to the log-odds of each label among the rated rows, so that training starts there."""
        share = np.clip(np.nanmean(emotions, axis=0), 1e-4, 1 - 1e-4)
        with torch.no_grad():
            self.output.bias[EMOTION_COLUMNS] = torch.from_numpy(np.log(share / (1 - share)).astype(np.float32))

    def trained_state(self) -> dict[str, torch.Tensor]:
        """Return what training changes: `lora.*` (PEFT's names) and the head's `dense.*` and `output.*`."""
        state = {f"lora.{name}": value for name, value in get_peft_model_state_dict(self.encoder).items()}
        state |= {f"dense.{name}": value for name, value in self.dense.state_dict().items()}
        return state | {f"output.{name}": value for name, value in self.output.state_dict().items()}

    def load_trained_state(self, state: dict[str, torch.Tensor]) -> None:
        """Put back what `trained_state` returned."""
        lora = {name.removeprefix("lora."): value for name, value in state.items() if name.startswith("lora.")}
        set_peft_model_state_dict(self.encoder, lora)
        for part, layer in (("dense.", self.dense), ("output.", self.output)):
            layer.load_state_dict({n.removeprefix(part): v for n, v in state.items() if n.startswith(part)})

    def parameter_groups(self, recipe: Recipe) -> list[dict[str, object]]:
        """Return the optimizer's groups: the adapters and the head, each at its own rate."""
        head = [*self.dense.parameters(), *self.output.parameters()]
        adapter = [parameter for parameter in self.encoder.parameters() if parameter.requires_grad]
        return [
            {"params": adapter, "lr": recipe.adapter_learning_rate},
            {"params": head, "lr": recipe.head_learning_rate},
        ]


def load_encoder(folder: Path) -> BertModel:
    """Load the base encoder from a Hugging Face folder, with the activation and the attention that we train with.

    The tanh form of GELU is llama.cpp's. Attention is written out ("eager"): under bfloat16 autocast on a CPU it runs
    faster than the fused kernel, which falls back to float32.
    """
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    config = BertConfig.from_pretrained(folder, hidden_act="gelu_pytorch_tanh", attn_implementation="eager")
    return BertModel.from_pretrained(folder, config=config, add_pooling_layer=False)
