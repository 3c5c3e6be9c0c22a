"""Which LoRA adapter a character speaks under. Pure.

Several characters share one model: an adapter is loaded beside it and switched between replies, without loading anything again. What was
computed under one adapter is worth nothing under another, which the engine and the kept sessions see to.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from limbic.runtime.models import ModelFile


@dataclass(frozen=True, slots=True)
class Adapter:
    """A LoRA adapter.

    Attributes:
        name: not empty, and no other adapter's.
        persona: with which words a persona begins that speaks under it.
        file: the adapter.
        scale: how strongly it acts; 1 as it was trained.
    """

    name: str
    persona: str
    file: ModelFile
    scale: float


def adapter_of(persona: str, adapters: Sequence[Adapter]) -> str:
    """Return the name of the first adapter that fits a persona; empty for none."""
    return next((adapter.name for adapter in adapters if persona.startswith(adapter.persona)), "")
