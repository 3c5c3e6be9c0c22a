"""A generative head's folder and its base to one full, self-describing model."""

from __future__ import annotations

import json
from pathlib import Path

from gguf import GGUFValueType

from services.affect_head.generative.prompt_format import PromptFormat
from training.adapter import ADAPTER_FILE, load_adapter
from training.errors import IntegrityError
from training.export import calibration_fields
from training.generative.base import Base
from training.generative.recipe import NORMALIZER, WORDS
from training.generative.record import KIND, GenerativeRecord
from training.gguf_file import Field, GgufModel, read_gguf
from training.hashing import file_sha256
from training.head import SCHEMA_VERSION
from training.merge import merge
from training.outputs import AXES


def assemble_generative(folder: Path, record: GenerativeRecord, base: Base) -> GgufModel:
    """Merge the folder's adapter into the base, dequantized, and describe the result.

    Raises:
        IntegrityError: if the base or the adapter is not the one that `head.json` speaks of.
    """
    if base.sha256 != record.base_sha256:
        raise IntegrityError(
            f"{base.path} has SHA-256 {base.sha256}, but the head was trained on {record.base_sha256}."
        )
    adapter_file = folder / ADAPTER_FILE
    adapter = load_adapter(adapter_file, head_tensors=())
    if (digest := file_sha256(adapter_file)) != record.adapter_sha256:
        raise IntegrityError(f"{adapter_file} has SHA-256 {digest}, but head.json names {record.adapter_sha256}.")
    model = read_gguf(base.path)
    return GgufModel(model.architecture, model.fields | _affect_fields(record), merge(model.tensors, adapter))


def _affect_fields(record: GenerativeRecord) -> dict[str, Field]:
    return {
        "affect.schema_version": Field.u32(SCHEMA_VERSION),
        "affect.kind": Field.text(KIND),
        "affect.head_id": Field.text(record.head_id),
        "affect.axes": Field.array(list(AXES), GGUFValueType.STRING),
        **calibration_fields(record.calibration),
        "affect.context_turns": Field.u32(0),
        "affect.normalizer": Field.text(NORMALIZER),
        **{f"affect.generative.{name}": Field.text(text) for name, text in _texts(WORDS).items()},
        "affect.generative.questions": Field.array(list(WORDS.questions), GGUFValueType.STRING),
        "affect.generative.levels": Field.array(list(WORDS.levels), GGUFValueType.STRING),
        "affect.generative.reason_tokens": Field.u32(record.reason_tokens),
        "affect.provenance": Field.text(json.dumps(record.provenance, sort_keys=True, separators=(",", ":"))),
    }


def _texts(words: PromptFormat) -> dict[str, str]:
    """Return the words that are not empty; GGUF files do not hold empty strings."""
    names = ("opening", "turn_opening", "turn_closing", "text_opening", "closing", "reason")
    return {name: text for name in names if (text := getattr(words, name))}
