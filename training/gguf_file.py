"""A GGUF file as a value: typed fields and float32 tensors, written in any of the types that NumPy can make.

Every file of ours is written here, so the same fields and tensors give the same bytes whether they come from a merge
or from another GGUF.
"""

from __future__ import annotations

import re
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from gguf import GGMLQuantizationType, GGUFReader, GGUFValueType, GGUFWriter, LlamaFileType
from gguf.quants import dequantize, quantize
from numpy.typing import NDArray

from training.errors import ModelError

WeightType = Literal["F32", "F16", "Q8_0", "Q5_0", "Q4_8", "Q4_0"]
WEIGHT_TYPES: tuple[WeightType, ...] = get_args(WeightType)
"""Smaller to the right. K-quants need rows of 256 values, which a width of 384 does not have. Q4_8 is Q4_0 with the two
kinds of matrices that suffer most from it in Q8_0: the attention's values and the first of each feed-forward pair."""

_FILE_TYPES: dict[WeightType, LlamaFileType] = {
    "F32": LlamaFileType.ALL_F32,
    "F16": LlamaFileType.MOSTLY_F16,
    "Q8_0": LlamaFileType.MOSTLY_Q8_0,
    "Q5_0": LlamaFileType.MOSTLY_Q5_0,
    "Q4_8": LlamaFileType.MOSTLY_Q4_0,
    "Q4_0": LlamaFileType.MOSTLY_Q4_0,
}
_QUANTIZATION_VERSION = 2
_QUANTIZATION = "affect.quantization"

_REDUCED = re.compile(
    r"(token_embd|output|blk\.\d+\.(attn_q|attn_k|attn_v|attn_output|ffn_gate|ffn_up|ffn_down))\.weight"
)
"""What may be stored in fewer bits: the token table and the blocks' matrices. The head, the positions, the norms and
the biases are small and stay float32 (llama.cpp aborts on a float16 token type table)."""


_SENSITIVE = re.compile(r"blk\.\d+\.(attn_v|ffn_up)\.weight")
"""Of the error that Q4_0 makes in the outputs, these cause seven tenths of the square, as measured on minilm-v1."""


def storage_of(name: str, weights: WeightType) -> GGMLQuantizationType:
    """Return how the tensor `name` is stored in a file of the given type."""
    if not _REDUCED.fullmatch(name):
        return GGMLQuantizationType.F32
    if weights == "Q4_8":
        return GGMLQuantizationType.Q8_0 if _SENSITIVE.fullmatch(name) else GGMLQuantizationType.Q4_0
    return GGMLQuantizationType[weights]


@dataclass(frozen=True, slots=True)
class Field:
    """A metadata value with its GGUF type; `item` is the type of an array's elements."""

    value: Any
    type: GGUFValueType
    item: GGUFValueType | None = None

    @classmethod
    def u32(cls, value: int) -> Field:
        """Make an unsigned 32-bit integer."""
        return cls(value, GGUFValueType.UINT32)

    @classmethod
    def f32(cls, value: float) -> Field:
        """Make a 32-bit float."""
        return cls(value, GGUFValueType.FLOAT32)

    @classmethod
    def flag(cls, value: bool) -> Field:
        """Make a truth value."""
        return cls(value, GGUFValueType.BOOL)

    @classmethod
    def text(cls, value: str) -> Field:
        """Make a UTF-8 string."""
        return cls(value, GGUFValueType.STRING)

    @classmethod
    def array(cls, values: list[Any], item: GGUFValueType) -> Field:
        """Make an array whose elements are all of type `item`."""
        return cls(values, GGUFValueType.ARRAY, item)


@dataclass(frozen=True, slots=True)
class GgufModel:
    """A whole model: `general.architecture`, metadata by key in file order, float32 tensors by name."""

    architecture: str
    fields: dict[str, Field]
    tensors: dict[str, NDArray[np.float32]]


def write_gguf(path: Path, model: GgufModel, weights: WeightType) -> None:
    """Write `model` with its matrices in the given type; equal models give equal bytes."""
    writer = GGUFWriter(path, model.architecture)
    for key, field in model.fields.items():
        writer.add_key_value(key, field.value, field.type, field.item)
    writer.add_key_value("general.file_type", int(_FILE_TYPES[weights]), GGUFValueType.UINT32)
    writer.add_key_value("general.quantization_version", _QUANTIZATION_VERSION, GGUFValueType.UINT32)
    # llama.cpp's file types have no name for a mixture, so an encoder names its own. A language model may go through llama.cpp's
    # quantizer afterwards, which would leave the name as it was.
    if model.architecture == "bert":
        writer.add_key_value(_QUANTIZATION, weights, GGUFValueType.STRING)
    for name, tensor in sorted(model.tensors.items()):
        kind = storage_of(name, weights)
        writer.add_tensor(name, quantize(tensor, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def write_whole(path: Path, model: GgufModel, weights: WeightType) -> None:
    """Write `model` to `path`, making its folder if missing; the file appears whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".writing-") as scratch:
        fresh = Path(scratch) / path.name
        write_gguf(fresh, model, weights)
        fresh.replace(path)


_WRITTEN_HERE = {"general.architecture", "general.file_type", "general.quantization_version", _QUANTIZATION}


def read_gguf(path: Path) -> GgufModel:
    """Read a full model back, its tensors dequantized.

    Raises:
        ModelError: if the file is missing, is no GGUF, or holds an adapter only.
    """
    reader, architecture, fields = _open_gguf(path)
    tensors = {
        tensor.name: np.array(dequantize(tensor.data, tensor.tensor_type), dtype=np.float32)
        for tensor in reader.tensors
    }
    kept = {key: field for key, field in fields.items() if key not in _WRITTEN_HERE}
    return GgufModel(architecture, kept, tensors)


def read_architecture(path: Path) -> str:
    """Return a full model's architecture without reading its tensors.

    Raises:
        ModelError: if the file is missing, is no GGUF, or holds an adapter only.
    """
    return _open_gguf(path)[1]


def read_number(path: Path, name: str) -> int | None:
    """Return a whole number of a full model's architecture, such as `block_count`; None where the file does not state it.

    Raises:
        ModelError: if the file is missing, is no GGUF, or holds an adapter only.
    """
    _, architecture, fields = _open_gguf(path)
    field = fields.get(f"{architecture}.{name}")
    return None if field is None else int(field.value)


def _open_gguf(path: Path) -> tuple[GGUFReader, str, dict[str, Field]]:
    if not path.is_file():
        raise ModelError(f"{path} is missing.")
    try:
        reader = GGUFReader(path)
    except (ValueError, IndexError) as error:
        raise ModelError(f"{path} is not a GGUF file: {error}.") from error
    fields = {
        key: Field(field.contents(), field.types[0], field.types[-1] if len(field.types) > 1 else None)
        for key, field in reader.fields.items()
        if not key.startswith("GGUF.")
    }
    architecture = str(fields["general.architecture"].value) if "general.architecture" in fields else ""
    kind = fields["general.type"].value if "general.type" in fields else "model"
    if kind == "adapter" or f"{architecture}.context_length" not in fields:
        raise ModelError(
            f"{path} holds an adapter only (no {architecture or 'architecture'}.context_length), which cannot be "
            "quantized or served. Merge it into its base first: `python -m training export` writes the full model."
        )
    return reader, architecture, fields
