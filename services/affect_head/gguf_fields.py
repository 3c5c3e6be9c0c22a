"""Typed access to a GGUF file's metadata, in which whatever is missing or of another kind is refused with a sentence."""

from __future__ import annotations

import math
import struct
from pathlib import Path
from typing import Any

from gguf import GGUFReader, GGUFValueType, ReaderField

from services.affect_head.errors import HeadFileError

_INTEGERS = {
    GGUFValueType.UINT8, GGUFValueType.INT8, GGUFValueType.UINT16, GGUFValueType.INT16,
    GGUFValueType.UINT32, GGUFValueType.INT32, GGUFValueType.UINT64, GGUFValueType.INT64,
}  # fmt: skip
_FLOATS = {GGUFValueType.FLOAT32, GGUFValueType.FLOAT64}


class GgufFields:
    """The metadata and the tensors' descriptions of one file. The file is mapped, not read: tensors stay on disk.

    Args:
        path: the file.

    Attributes:
        tensors: for each tensor its GGML type's name and its shape, as llama.cpp counts it: the row's length first.

    Raises:
        HeadFileError: it is no GGUF file, or it is cut short.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            reader = GGUFReader(path)
        except (OSError, ValueError, IndexError, KeyError, OverflowError, struct.error) as error:
            raise self.refusal(f"it is no whole GGUF file ({error})") from error
        self._fields = reader.fields
        self.tensors: dict[str, tuple[str, tuple[int, ...]]] = {
            tensor.name: (tensor.tensor_type.name, tuple(int(length) for length in tensor.shape))
            for tensor in reader.tensors
        }

    def refusal(self, problem: str) -> HeadFileError:
        """Return the error that says that this file cannot be served, and why."""
        return HeadFileError(self.path, problem)

    def __contains__(self, key: str) -> bool:
        return key in self._fields

    def text(self, key: str) -> str:
        """Return a string that is not empty."""
        value = self._scalar(key, {GGUFValueType.STRING}, "a string")
        if not value:
            raise self.refusal(f"{key} is empty")
        return str(value)

    def integer(self, key: str, low: int, high: int, *, default: int | None = None) -> int:
        """Return a whole number in low…high; a missing one stands for the default, if there is one."""
        if default is not None and key not in self._fields:
            return default
        value = int(self._scalar(key, _INTEGERS, "a whole number"))
        if not low <= value <= high:
            raise self.refusal(f"{key} is {value}; {low} to {high} can be served")
        return value

    def positive(self, key: str) -> float:
        """Return a finite number above zero."""
        value = float(self._scalar(key, _FLOATS, "a number"))
        if not (math.isfinite(value) and value > 0):
            raise self.refusal(f"{key} is {value:g}; it must be a number above zero")
        return value

    def flag(self, key: str) -> bool:
        """Return a truth value."""
        return bool(self._scalar(key, {GGUFValueType.BOOL}, "true or false"))

    def texts(self, key: str) -> tuple[str, ...]:
        """Return an array of strings, none of which is empty or comes twice."""
        values = tuple(str(value) for value in self._array(key, {GGUFValueType.STRING}, "strings"))
        if not all(values) or len(set(values)) != len(values):
            raise self.refusal(f"{key} holds an empty string, or one string twice")
        return values

    def numbers(self, key: str, length: int, low: float, high: float) -> tuple[float, ...]:
        """Return an array of `length` numbers, each in low…high."""
        values = tuple(float(value) for value in self._array(key, _FLOATS, "numbers"))
        if len(values) != length:
            raise self.refusal(f"{key} has {len(values)} entries; {length} are needed")
        for value in values:
            if not low <= value <= high:
                raise self.refusal(f"{key} holds {value:g}; {low:g} to {high:g} can be served")
        return values

    def length(self, key: str) -> int:
        """Return an array's number of entries without reading them; 0 if there is no such array."""
        field = self._fields.get(key)
        return len(field.data) if field is not None and field.types[0] is GGUFValueType.ARRAY else 0

    def _scalar(self, key: str, kinds: set[GGUFValueType], what: str) -> Any:
        field = self._fields.get(key)
        if field is None:
            raise self.refusal(f"{key} is missing")
        if field.types[0] not in kinds:
            raise self.refusal(f"{key} is not {what}")
        return self._contents(key, field)

    def _array(self, key: str, kinds: set[GGUFValueType], what: str) -> list[Any]:
        field = self._fields.get(key)
        if field is None:
            raise self.refusal(f"{key} is missing")
        if field.types[0] is not GGUFValueType.ARRAY or field.types[-1] not in kinds:
            raise self.refusal(f"{key} is not an array of {what}")
        return list(self._contents(key, field))

    def _contents(self, key: str, field: ReaderField) -> Any:
        try:
            return field.contents()
        except UnicodeDecodeError:
            raise self.refusal(f"{key} is no valid UTF-8") from None
