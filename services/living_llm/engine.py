"""One llama.cpp context: evaluates a prompt, of which it may know a beginning already, and samples tokens after it.

What would abort the process is checked here: no batch above n_batch, no id outside the vocabulary, no position outside the window.
An Engine belongs to one thread; only its `abort` flag may be touched from others.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import llama_cpp
import numpy as np
from numpy.typing import NDArray

from limbic.runtime.llama import AbortFlag, LlamaError, load_model
from services.living_llm.sampler import sampler_chain
from services.living_llm.speech import Sampling
from services.living_llm.vocabulary import Vocabulary

BATCH_TOKENS = 256
"""Tokens of a prompt that are evaluated at once. More gains nothing on a CPU, and what an abort throws away stays small."""

_ABORTED = 2


class GenerationAbortedError(Exception):
    """The abort flag was set."""


@dataclass(frozen=True, slots=True)
class EngineState:
    """What a context had computed.

    Attributes:
        tokens: for which tokens.
        adapter: under which adapter; empty for none.
        data: as llama.cpp writes it.
    """

    tokens: tuple[int, ...]
    adapter: str
    data: NDArray[np.uint8]

    @property
    def size(self) -> int:
        """Bytes."""
        return self.data.nbytes


class Engine:
    """A model with one context.

    Args:
        path: a GGUF file that has been verified.
        context_tokens: the window that is wanted; the model's own is the limit.
        threads: threads of a computation.
        on_node: a `ggml_backend_sched_eval_callback` that sees the nodes of each computation, or None.

    Attributes:
        layers: the model's layers.
        width: numbers in a hidden state.

    Raises:
        LlamaError: the file cannot be loaded, or is no model that generates text.
    """

    def __init__(self, path: Path, *, context_tokens: int, threads: int, on_node: Any = None) -> None:
        self._model = load_model(path)
        if (
            llama_cpp.llama_model_has_encoder(self._model)
            or not llama_cpp.llama_model_has_decoder(self._model)
            # BERT and its like pass for decoders in llama.cpp; their files say that each token sees those behind it.
            or _metadata(self._model, f"{_metadata(self._model, 'general.architecture')}.attention.causal") == "false"
        ):
            llama_cpp.llama_model_free(self._model)
            raise LlamaError(f"{path.name} is no decoder-only language model")
        self.layers: int = llama_cpp.llama_model_n_layer(self._model)
        self.width: int = llama_cpp.llama_model_n_embd(self._model)
        self.vocabulary = Vocabulary(self._model)
        template = llama_cpp.llama_model_chat_template(self._model, None)
        self.chat_template: str | None = template.decode("utf-8") if template else None
        params = llama_cpp.llama_context_default_params()
        params.n_ctx = min(context_tokens, llama_cpp.llama_model_n_ctx_train(self._model))
        params.n_batch = params.n_ubatch = min(BATCH_TOKENS, params.n_ctx)
        params.n_seq_max = 1
        # The library's default depends on the machine's core count and ignores a container's limit.
        params.n_threads = params.n_threads_batch = threads
        # On a CPU flash attention makes a long conversation slow: with 1,850 tokens known, 55 more take 1.3 s with it and 0.3 s without
        # (SmolLM2, two cores).
        params.flash_attn_type = llama_cpp.LLAMA_FLASH_ATTN_TYPE_DISABLED
        if on_node is not None:
            params.cb_eval = on_node
        self._context = llama_cpp.llama_init_from_model(self._model, params)
        if not self._context:
            llama_cpp.llama_model_free(self._model)
            raise LlamaError(f"llama.cpp could not make a context of {params.n_ctx} tokens for {path.name}")
        self.context_tokens: int = llama_cpp.llama_n_ctx(self._context)
        self._batch_tokens: int = llama_cpp.llama_n_batch(self._context)
        self._memory = llama_cpp.llama_get_memory(self._context)
        self.abort = AbortFlag()
        self.abort.install(self._context)
        self._known: list[int] = []
        # Where steering began; what was computed from there on is forgotten before anything else is computed.
        self._steered_from: int | None = None
        self._adapters: dict[str, tuple[Any, float]] = {}
        self._adapter = ""

    def close(self) -> None:
        """Free the context and the model."""
        llama_cpp.llama_free(self._context)
        llama_cpp.llama_model_free(self._model)

    @property
    def known(self) -> Sequence[int]:
        """The tokens that the context holds, but for what was computed under steering."""
        return self._known[: self._steered_from]

    @property
    def adapter(self) -> str:
        """The adapter under which they were computed; empty for none."""
        return self._adapter

    def add_adapter(self, name: str, path: Path, scale: float) -> None:
        """Load a LoRA adapter that has been verified, to be used by its name.

        Raises:
            LlamaError: llama.cpp cannot load it, or it was made for another architecture.
        """
        adapter = llama_cpp.llama_adapter_lora_init(self._model, str(path).encode())
        if not adapter:
            raise LlamaError(f"llama.cpp could not load the adapter {path}; the line before this one says why")
        self._adapters[name] = (adapter, scale)

    def use_adapter(self, name: str) -> None:
        """Compute under another adapter from now on, or none if the name is empty. What is known was computed without and is forgotten.

        Raises:
            LlamaError: llama.cpp failed.
        """
        if name == self._adapter:
            return
        self._unsteer()
        self._keep(0)
        chosen = [self._adapters[name]] if name else []
        pointers = (llama_cpp.llama_adapter_lora_p_ctypes * len(chosen))(*(adapter for adapter, _ in chosen))
        scales = (ctypes.c_float * len(chosen))(*(scale for _, scale in chosen))
        if llama_cpp.llama_set_adapters_lora(self._context, pointers, len(chosen), scales):
            raise LlamaError("llama.cpp refused an adapter")
        self._adapter = name

    def state(self) -> EngineState:
        """Copy what the context holds.

        Raises:
            LlamaError: llama.cpp failed.
        """
        self._unsteer()
        # A computation that was stopped may have left more behind than is known.
        self._keep(len(self._known))
        data = np.empty(llama_cpp.llama_state_seq_get_size(self._context, 0), np.uint8)
        if llama_cpp.llama_state_seq_get_data(self._context, _bytes_of(data), data.size, 0) != data.size:
            raise LlamaError("llama.cpp could not copy a state")
        return EngineState(tuple(self._known), self._adapter, data)

    def restore(self, state: EngineState) -> None:
        """Replace what the context holds.

        Raises:
            LlamaError: llama.cpp failed; nothing is known then.
            ValueError: the state was computed under another adapter.
        """
        if state.adapter != self._adapter:
            raise ValueError("a state of another adapter")
        self._unsteer()
        self._keep(0)
        if llama_cpp.llama_state_seq_set_data(self._context, _bytes_of(state.data), state.size, 0) != state.size:
            llama_cpp.llama_memory_clear(self._memory, True)
            raise LlamaError("llama.cpp could not take a state back")
        self._known = list(state.tokens)

    def evaluate(self, prompt: Sequence[int], steering: NDArray[np.float32] | None = None) -> int:
        """Bring the context to the end of a prompt and return how many of its tokens had been computed before.

        Args:
            prompt: token ids.
            steering: what is added to the hidden states, of shape (layers - 1, width), its first row behind layer 1. It acts on the last
                token of the prompt and on what is sampled after it, and not on what stands before: that would have to be computed
                anew whenever the steering changes.

        Raises:
            GenerationAbortedError: the flag was set; what was computed until then stays known.
            LlamaError: llama.cpp failed.
            ValueError: the prompt is empty, does not fit the window or holds an id that is no token.
        """
        if not 0 < len(prompt) < self.context_tokens:
            raise ValueError(f"a prompt of {len(prompt)} tokens in a window of {self.context_tokens}")
        if min(prompt) < 0 or max(prompt) >= self.vocabulary.size:
            raise ValueError("a token outside the vocabulary")
        # Sampling needs the logits after the last token, so that is always evaluated anew, and the one before it as well: llama.cpp
        # computes one token by other kernels than several, to other last bits, and what a seed draws would depend on how much was known.
        self._unsteer()
        kept = self._keep(common_prefix(self._known, prompt[:-2] if steering is None else prompt[:-1]))
        plain = prompt if steering is None else prompt[:-1]
        for start in range(kept, len(plain), self._batch_tokens):
            self._decode(plain[start : start + self._batch_tokens])
        if steering is not None:
            self._steer(steering)
            self._decode(prompt[-1:])
        return kept

    def sample(self, sampling: Sampling, unsaid: Sequence[int] = ()) -> Iterator[int]:
        """Yield tokens after the evaluated prompt, none of those in `unsaid`, without end; stops only where the window is full.

        Raises:
            GenerationAbortedError: the flag was set.
            LlamaError: llama.cpp failed.
        """
        with sampler_chain(sampling, self.vocabulary.size, unsaid) as chain:
            while True:
                token: int = llama_cpp.llama_sampler_sample(chain, self._context, -1)
                yield token
                if len(self._known) >= self.context_tokens:
                    return
                self._decode([token])

    def _decode(self, tokens: Sequence[int]) -> None:
        if self.abort.is_set():
            raise GenerationAbortedError
        array = (llama_cpp.llama_token * len(tokens))(*tokens)
        status = llama_cpp.llama_decode(self._context, llama_cpp.llama_batch_get_one(array, len(tokens)))
        if status == 0:
            self._known.extend(tokens)
            return
        # A part of the batch may stay behind in the memory; the next evaluation takes away whatever is not known.
        if status == _ABORTED:
            raise GenerationAbortedError
        raise LlamaError(f"llama_decode returned {status}")

    def _steer(self, vector: NDArray[np.float32]) -> None:
        if vector.shape != (self.layers - 1, self.width):
            raise ValueError(f"steering of shape {vector.shape} for {self.layers - 1} layers of {self.width}")
        data = np.ascontiguousarray(vector, np.float32)
        pointer = data.ctypes.data_as(ctypes.POINTER(ctypes.c_float))
        if llama_cpp.llama_set_adapter_cvec(self._context, pointer, data.size, self.width, 1, self.layers - 1):
            raise LlamaError("llama.cpp refused a control vector")
        self._steered_from = len(self._known)

    def _unsteer(self) -> None:
        if self._steered_from is not None:
            llama_cpp.llama_set_adapter_cvec(self._context, None, 0, self.width, 0, 0)
            self._keep(self._steered_from)
            self._steered_from = None

    def _keep(self, length: int) -> int:
        # Models with a recurrent state or a sliding window cannot forget a part: then everything is forgotten.
        if not llama_cpp.llama_memory_seq_rm(self._memory, 0, length, -1):
            llama_cpp.llama_memory_clear(self._memory, True)
            length = 0
        del self._known[length:]
        return length


def _metadata(model: Any, key: str) -> str:
    """Return a value from a model file's metadata as text; empty if there is none."""
    buffer = ctypes.create_string_buffer(256)
    found: int = llama_cpp.llama_model_meta_val_str(model, key.encode(), buffer, len(buffer))
    return buffer.value.decode("utf-8", "replace") if found >= 0 else ""


def _bytes_of(data: NDArray[np.uint8]) -> Any:
    return data.ctypes.data_as(ctypes.POINTER(ctypes.c_uint8))


def common_prefix(first: Sequence[int], second: Sequence[int]) -> int:
    """Return how many tokens two prompts have in common at their beginning."""
    length = 0
    for a, b in zip(first, second, strict=False):
        if a != b:
            break
        length += 1
    return length
