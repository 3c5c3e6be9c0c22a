"""Makes control vectors from contrasts: what differs in a model's hidden states between saying something warmly and saying it coldly.

For each contrast the model reads the same conversation twice, up to a reply that is high on the axis and up to one that is low on it, in
the prompt format in which it will speak. The hidden states of a reply's tokens are averaged, and the direction behind a layer is the mean
difference over all contrasts. (The first principal component of the differences, which is often taken instead, has no sign and no length
of its own.) After K. Li et al., "Inference-Time Intervention", 2023, and A. Zou et al., "Representation Engineering", 2023.

Hidden states are read while llama.cpp computes, from the nodes that it calls `l_out-N`, and it names them so in all architectures to
which it can add a control vector.
"""

from __future__ import annotations

import ctypes
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import gguf
import llama_cpp
import numpy as np
from numpy.typing import NDArray

from limbic.runtime.models import ModelFile
from services.living_llm.control_vectors import AXES, ControlVector, ControlVectorError
from services.living_llm.engine import Engine
from services.living_llm.formats import choose_format
from services.living_llm.speech import Message, Role, Sampling, Speech

FIRST, LAST = 0.25, 0.7
"""The steered layers as shares of the depth: where a model has found what is meant and has not yet chosen its words. In SmolLM2 the
contrasts for tension and energy come apart from a third of the depth on. Many layers share the strength, so that none is pushed far."""

_CONTEXT_TOKENS = 1024
_PERSONA = "You are Ada, a warm and curious friend."
_NODE = b"l_out-"

# What of ggml is needed to read a node. llama-cpp-python binds none of it.
_GGML = ctypes.CDLL(str(Path(llama_cpp.__file__).parent / "lib" / "libggml-base.so"))
_GGML.ggml_get_name.argtypes, _GGML.ggml_get_name.restype = [ctypes.c_void_p], ctypes.c_char_p
_GGML.ggml_nelements.argtypes, _GGML.ggml_nelements.restype = [ctypes.c_void_p], ctypes.c_int64
_GGML.ggml_backend_tensor_get.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_size_t]
_GGML.ggml_backend_tensor_get.restype = None


@dataclass(frozen=True, slots=True)
class Contrast:
    """The same said in two ways, as an answer to the same."""

    said: str
    high: str
    low: str


def load_contrasts() -> dict[str, list[Contrast]]:
    """Read the contrasts that are shipped, by axis."""
    table = tomllib.loads(resources.files("services.living_llm").joinpath("contrast.toml").read_text("utf-8"))
    return {axis: [Contrast(*pair) for pair in table[axis]["pairs"]] for axis in AXES}


class HiddenStates:
    """A model whose hidden states can be read.

    Args:
        file: the model, verified.
        threads: threads of a computation.
        prompt_format: auto, transcript or chat-template.

    Raises:
        LlamaError: llama.cpp cannot use it.
        PromptFormatError: the format does not suit it.
    """

    def __init__(self, file: ModelFile, *, threads: int, prompt_format: str) -> None:
        # Kept: llama.cpp holds a bare pointer to it.
        self._callback = llama_cpp.ggml_backend_sched_eval_callback(self._on_node)
        self._seen: dict[int, NDArray[np.float32]] | None = None
        self._engine = Engine(file.path, context_tokens=_CONTEXT_TOKENS, threads=threads, on_node=self._callback)
        self._format = choose_format(prompt_format, self._engine.chat_template, self._engine.vocabulary)

    @property
    def layers(self) -> int:
        """The model's layers."""
        return self._engine.layers

    def close(self) -> None:
        """Free the model."""
        self._engine.close()

    def of_reply(self, said: str, reply: str) -> NDArray[np.float32]:
        """Return the mean hidden state of a reply's tokens behind each layer but the last, of shape (layers - 1, width).

        Raises:
            ControlVectorError: the model's layers cannot be seen.
        """
        greedy = Sampling(0.0, 1.0, 0.0, 0.0, 1)
        messages = (Message(Role.USER, said),)
        written = self._format.write(Speech("", _PERSONA, messages, "", greedy), messages)
        vocabulary = self._engine.vocabulary
        prompt = vocabulary.prompt(written.text, control=written.control)
        # A transcript ends with the speaker's name, and a space is part of the word that follows.
        words = vocabulary.tokens(reply if written.text[-1].isspace() else f" {reply}", control=False)
        self._engine.evaluate(prompt)
        self._seen = {}
        try:
            self._engine.evaluate([*prompt, *words])
            # Of the last layer only the row is computed that is sampled from; it is not steered.
            layers = [
                self._seen[layer].reshape(-1, self._engine.width).mean(axis=0) for layer in range(self.layers - 1)
            ]
        except KeyError as error:
            raise ControlVectorError(f"llama.cpp shows no hidden states behind layer {error} of this model") from None
        finally:
            self._seen = None
        return np.stack(layers)

    def _on_node(self, node: int, ask: bool, _data: Any) -> bool:
        name: bytes = _GGML.ggml_get_name(node)
        if self._seen is None or not name.startswith(_NODE):
            # Asked for what is wanted: nothing. Told of what was computed: go on.
            return not ask
        if not ask:
            values = np.empty(_GGML.ggml_nelements(node), np.float32)
            _GGML.ggml_backend_tensor_get(node, values.ctypes.data, 0, values.nbytes)
            self._seen[int(name.removeprefix(_NODE))] = values
        return True


def steered_layers(layers: int) -> range:
    """Return the layers behind which a direction is added."""
    return range(max(1, round(FIRST * layers)), max(2, round(LAST * layers)))


def build(
    file: ModelFile,
    contrasts: Mapping[str, Sequence[Contrast]],
    *,
    threads: int,
    prompt_format: str,
    on_pair: Callable[[str], None],
) -> list[ControlVector]:
    """Make a control vector for each axis.

    Args:
        file: the model.
        contrasts: by axis.
        threads: threads of a computation.
        prompt_format: auto, transcript or chat-template.
        on_pair: told the axis after each contrast.

    Raises:
        ModelFileError: the file is not what it should be.
        LlamaError: llama.cpp cannot use it.
        PromptFormatError: the format does not suit it.
        ControlVectorError: the model's layers cannot be seen.
    """
    sha256 = file.verify()
    architecture = gguf.GGUFReader(file.path).fields["general.architecture"].contents()
    hidden = HiddenStates(file, threads=threads, prompt_format=prompt_format)
    try:
        layers = steered_layers(hidden.layers)
        vectors = []
        for axis, pairs in contrasts.items():
            differences = []
            for pair in pairs:
                differences.append(hidden.of_reply(pair.said, pair.high) - hidden.of_reply(pair.said, pair.low))
                on_pair(axis)
            mean: NDArray[np.float32] = np.stack(differences).mean(axis=0, dtype=np.float64).astype(np.float32)
            # Row N of the differences is what stands behind layer N; what one layer adds, those behind it still carry.
            directions = {layer: mean[layer] / len(layers) for layer in layers if layer < len(mean)}
            vectors.append(ControlVector(axis, sha256, architecture, len(pairs), directions))
        return vectors
    finally:
        hidden.close()
