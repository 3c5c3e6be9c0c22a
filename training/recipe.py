"""A training run's every choice, in one frozen value that the head carries with it."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, TypeVar

from training.errors import RecipeError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

AnyRecipe = TypeVar("AnyRecipe", bound="DataclassInstance")


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a head is trained; the defaults are a fresh run's. What the committed head was trained with stands in its provenance."""

    seed: int = 17
    """Seeds the initial weights, the dropout and every epoch's order: equal seeds give equal weights."""
    epochs: int = 5
    batch_rows: int = 64
    max_tokens: int = 128
    """[CLS] and [SEP] included. Chat is short; longer texts lose their end."""
    lora_rank: int = 32
    lora_alpha: int = 64
    """Alpha over rank is a power of two, which keeps the merge exact (`training.merge`)."""
    head_dropout: float = 0.1
    """Before the dense layer and before the last one."""
    adapter_learning_rate: float = 7e-4
    head_learning_rate: float = 1.4e-3
    weight_decay: float = 0.01
    warmup_share: float = 0.06
    """Of all steps, with the rate rising linearly; it then falls linearly to zero."""
    gradient_clip: float = 1.0
    bfloat16: bool = True
    """Autocast the encoder's matrix products; weights, head and losses stay in float32."""
    sampling: dict[str, float] = field(
        default_factory=lambda: {
            "goemotions": 1.0, "emobank": 2.0, "question_intimacy": 3.0, "xed": 0.25, "probes": 4.0,
        }
    )  # fmt: skip
    """How often an epoch shows each row of a source, on average. The probes are the target domain and few, film
    dialogue only an auxiliary and many."""
    loss_weights: dict[str, float] = field(
        default_factory=lambda: {"emotions": 10.0, "axes": 2.0, "xed": 2.0, "auxiliary_axes": 2.0, "teacher_axes": 2.0}
    )
    """Chosen so that each target's gradient on a row that carries it is of one size; a teacher's ratings, half of that."""
    beta: float = 0.5
    """Of the beta-NLL: 0 is the plain Gaussian likelihood, which neglects what it finds hard; 1 is squared error."""

    def as_dict(self) -> dict[str, Any]:
        """Return the fields as JSON-ready values."""
        return asdict(self)

    def with_settings(self, settings: Sequence[str]) -> Recipe:
        """Return this recipe with some fields changed by `key=value`, the value as TOML writes it.

        A key is a field's name, or for the two tables `sampling.SOURCE` and `loss_weights.TARGET`.

        Raises:
            RecipeError: if a setting names no field, or its value is of another type than the field's.
        """
        return with_settings(self, settings)


def with_settings(recipe: AnyRecipe, settings: Sequence[str]) -> AnyRecipe:
    """Return any kind of recipe with some fields changed by `key=value`.

    Raises:
        RecipeError: if a setting names no field, or its value is of another type than the field's.
    """
    changed = recipe
    for setting in settings:
        name, _, text = setting.partition("=")
        key, _, entry = name.strip().partition(".")
        present = getattr(changed, key, None) if key in {field.name for field in fields(recipe)} else None
        known = present.get(entry) if isinstance(present, dict) else (None if entry else present)
        if known is None:
            raise RecipeError(f"A recipe has no {name.strip() or 'field without a name'}; {_names(recipe)} can be set.")
        value = _number(setting, text, known)
        changed = replace(changed, **{key: {**present, entry: value} if isinstance(present, dict) else value})
    return changed


def _number(setting: str, text: str, known: Any) -> Any:
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except (tomllib.TOMLDecodeError, KeyError) as error:
        raise RecipeError(f"{setting!r} does not read as key=value: {error}.") from error
    if isinstance(known, float) and type(value) is int:
        value = float(value)
    if type(value) is not type(known):
        raise RecipeError(f"{setting!r} gives a {type(value).__name__}, but {type(known).__name__} is needed.")
    return value


def _names(recipe: DataclassInstance) -> str:
    names: list[str] = []
    for key, value in asdict(recipe).items():
        names += [f"{key}.{entry}" for entry in value] if isinstance(value, dict) else [key]
    return ", ".join(names)
