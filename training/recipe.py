"""A training run's every choice, in one frozen value that the head carries with it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a head is trained; the defaults are those of the committed head."""

    seed: int = 17
    """Seeds the initial weights, the dropout and every epoch's order: equal seeds give equal weights."""
    epochs: int = 4
    batch_rows: int = 32
    max_tokens: int = 128
    """[CLS] and [SEP] included. Chat is short; longer texts lose their end."""
    lora_rank: int = 32
    lora_alpha: int = 64
    """Alpha over rank is a power of two, which keeps the merge exact (`training.merge`)."""
    head_dropout: float = 0.1
    """Before the dense layer and before the last one."""
    adapter_learning_rate: float = 5e-4
    head_learning_rate: float = 1e-3
    weight_decay: float = 0.01
    warmup_share: float = 0.06
    """Of all steps, with the rate rising linearly; it then falls linearly to zero."""
    gradient_clip: float = 1.0
    bfloat16: bool = True
    """Autocast the encoder's matrix products; weights, head and losses stay in float32."""
    sampling: dict[str, float] = field(
        default_factory=lambda: {
            "goemotions": 1.0, "emobank": 1.5, "question_intimacy": 4.0, "xed": 0.4, "probes": 4.0,
        }
    )  # fmt: skip
    """How often an epoch shows each row of a source, on average. The probes are the target domain and few, film
    dialogue only an auxiliary and many."""
    loss_weights: dict[str, float] = field(
        default_factory=lambda: {"emotions": 10.0, "axes": 1.5, "xed": 2.0, "auxiliary_axes": 2.0}
    )
    """Chosen so that each target's gradient on a row that carries it is of one size."""
    beta: float = 0.5
    """Of the beta-NLL: 0 is the plain Gaussian likelihood, which neglects what it finds hard; 1 is squared error."""

    def as_dict(self) -> dict[str, Any]:
        """Return the fields as JSON-ready values."""
        return asdict(self)
