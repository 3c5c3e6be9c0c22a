"""Control vectors: directions in a model's hidden states along which what it says becomes warmer, tenser or livelier.

A file holds one axis, in llama.cpp's own form (architecture `controlvector`, tensors `direction.N` that are added behind layer N), so that
llama-server takes it as well: `--control-vector-scaled warmth.gguf:1.5`. A strength of 1 adds, over all steered layers together, the mean
distance between what is high on the axis and what is low on it. `limbic steer build` makes the files; they fit the one model file that
they were made from and are refused beside any other.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import gguf
import numpy as np
from numpy.typing import NDArray

ARCHITECTURE = "controlvector"
AXES = ("warmth", "tension", "energy")

_AXIS, _MODEL, _PAIRS = "limbic.steering.axis", "limbic.steering.model_sha256", "limbic.steering.pairs"


class ControlVectorError(Exception):
    """A control vector cannot be used. The text names the file and the reason."""


@dataclass(frozen=True, slots=True)
class ControlVector:
    """One axis of one model.

    Attributes:
        axis: warmth, tension or energy.
        model_sha256: the model file that it was made from.
        model_architecture: for other programs, which know a model by that.
        pairs: contrasts that it was made from.
        directions: what a strength of 1 adds behind each layer, by the layer's number, which is at least 1.
    """

    axis: str
    model_sha256: str
    model_architecture: str
    pairs: int
    directions: Mapping[int, NDArray[np.float32]]

    def write(self, path: Path) -> None:
        """Write it as a GGUF file."""
        writer = gguf.GGUFWriter(path, ARCHITECTURE)
        writer.add_string(f"{ARCHITECTURE}.model_hint", self.model_architecture)
        writer.add_int32(f"{ARCHITECTURE}.layer_count", len(self.directions))
        writer.add_string(_AXIS, self.axis)
        writer.add_string(_MODEL, self.model_sha256)
        writer.add_uint32(_PAIRS, self.pairs)
        for layer, direction in self.directions.items():
            writer.add_tensor(f"direction.{layer}", np.ascontiguousarray(direction, np.float32))
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()


def read_vector(path: Path) -> ControlVector:
    """Read a file that `limbic steer build` made.

    Raises:
        ControlVectorError: there is none, or it is no such file.
    """
    try:
        reader = gguf.GGUFReader(path)
        field = {name: reader.fields[name].contents() for name in (_AXIS, _MODEL, _PAIRS)}
        hint = reader.fields[f"{ARCHITECTURE}.model_hint"].contents()
        directions = {int(tensor.name.removeprefix("direction.")): np.array(tensor.data) for tensor in reader.tensors}
    except (OSError, ValueError, KeyError, IndexError) as error:
        raise ControlVectorError(
            f"{path} is no control vector of ours ({type(error).__name__}); `limbic steer build` makes it"
        ) from None
    return ControlVector(field[_AXIS], field[_MODEL], hint, field[_PAIRS], directions)


class Steering:
    """The control vectors of one model, ready to be mixed.

    Args:
        vectors: one for each axis that can be steered.
        layers: the model's layers.
        width: numbers in a hidden state.

    Raises:
        ControlVectorError: one does not fit the model.
    """

    def __init__(self, vectors: Mapping[str, ControlVector], *, layers: int, width: int) -> None:
        self._shape = (layers - 1, width)
        self._dense = {axis: self._spread(vector) for axis, vector in vectors.items()}

    @property
    def axes(self) -> tuple[str, ...]:
        """The axes that can be steered."""
        return tuple(self._dense)

    def mix(self, strengths: Mapping[str, float]) -> NDArray[np.float32] | None:
        """Return what is added to the hidden states, of shape (layers - 1, width), or None where that is nothing.

        Args:
            strengths: by axis; an axis without a vector is left out.
        """
        parts = [
            np.float32(strength) * self._dense[axis] for axis, strength in strengths.items() if axis in self._dense
        ]
        mixed: NDArray[np.float32] = np.sum(parts, axis=0, dtype=np.float32) if parts else np.zeros(1, np.float32)
        return mixed if mixed.any() else None

    def _spread(self, vector: ControlVector) -> NDArray[np.float32]:
        dense = np.zeros(self._shape, np.float32)
        for layer, direction in vector.directions.items():
            # Hidden states are added to as they are: a number that is none would be in every one that follows.
            if not 1 <= layer <= len(dense) or direction.shape != dense[0].shape or not np.isfinite(direction).all():
                raise ControlVectorError(
                    f"the control vector for {vector.axis} does not fit the model: direction.{layer} is bad"
                )
            dense[layer - 1] = direction
        return dense


def load_steering(folder: Path, *, model_sha256: str, layers: int, width: int) -> Steering:
    """Read the control vectors of a model, one file for each axis; an axis may be missing.

    Raises:
        ControlVectorError: there is none, or one was made from another model.
    """
    vectors = {axis: read_vector(path) for axis in AXES if (path := folder / f"{axis}.gguf").is_file()}
    if not vectors:
        raise ControlVectorError(f"{folder} holds none of {', '.join(f'{axis}.gguf' for axis in AXES)}")
    for axis, vector in vectors.items():
        if (vector.axis, vector.model_sha256) != (axis, model_sha256):
            raise ControlVectorError(
                f"{folder / axis}.gguf was made for {vector.axis} of the model {vector.model_sha256[:12]}…, and not for {axis} of "
                f"{model_sha256[:12]}…; `limbic steer build` makes vectors for a model"
            )
    return Steering(vectors, layers=layers, width=width)
