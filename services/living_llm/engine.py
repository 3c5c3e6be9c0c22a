"""One llama.cpp context: evaluates a prompt, of which it may know a beginning already, and samples tokens after it.

What would abort the process is checked here: no batch above n_batch, no id outside the vocabulary, no position outside the window.
An Engine belongs to one thread; only its `abort` flag may be touched from others.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import llama_cpp

from limbic.runtime.llama import AbortFlag, LlamaError, load_model
from services.living_llm.speech import Sampling
from services.living_llm.vocabulary import Vocabulary

BATCH_TOKENS = 256
"""Tokens of a prompt that are evaluated at once. More gains nothing on a CPU, and what an abort throws away stays small."""

TOP_K = 40
"""Candidates that may be drawn at all, as llama.cpp's own programs have it: what lies behind them is noise in a small model."""

_ABORTED = 2


class GenerationAbortedError(Exception):
    """The abort flag was set."""


class Engine:
    """A model with one context.

    Args:
        path: a GGUF file that has been verified.
        context_tokens: the window that is wanted; the model's own is the limit.
        threads: threads of a computation.

    Raises:
        LlamaError: the file cannot be loaded, or is no model that generates text.
    """

    def __init__(self, path: Path, *, context_tokens: int, threads: int) -> None:
        self._model = load_model(path)
        if llama_cpp.llama_model_has_encoder(self._model) or not llama_cpp.llama_model_has_decoder(self._model):
            llama_cpp.llama_model_free(self._model)
            raise LlamaError(f"{path.name} is no decoder-only language model")
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

    def close(self) -> None:
        """Free the context and the model."""
        llama_cpp.llama_free(self._context)
        llama_cpp.llama_model_free(self._model)

    def evaluate(self, prompt: Sequence[int]) -> int:
        """Bring the context to the end of a prompt and return how many of its tokens had been computed before.

        Raises:
            GenerationAbortedError: the flag was set; what was computed until then stays known.
            LlamaError: llama.cpp failed.
            ValueError: the prompt is empty, does not fit the window or holds an id that is no token.
        """
        if not 0 < len(prompt) < self.context_tokens:
            raise ValueError(f"a prompt of {len(prompt)} tokens in a window of {self.context_tokens}")
        if min(prompt) < 0 or max(prompt) >= self.vocabulary.size:
            raise ValueError("a token outside the vocabulary")
        # The last token is always evaluated anew: sampling needs the logits after it.
        kept = self._keep(_common_prefix(self._known, prompt, len(prompt) - 1))
        for start in range(kept, len(prompt), self._batch_tokens):
            self._decode(prompt[start : start + self._batch_tokens])
        return kept

    def sample(self, sampling: Sampling) -> Iterator[int]:
        """Yield tokens after the evaluated prompt, without end; stops by itself only where the window is full.

        Raises:
            GenerationAbortedError: the flag was set.
            LlamaError: llama.cpp failed.
        """
        with _sampler(sampling, self.vocabulary.size) as chain:
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

    def _keep(self, length: int) -> int:
        # Models with a recurrent state or a sliding window cannot forget a part: then everything is forgotten.
        if not llama_cpp.llama_memory_seq_rm(self._memory, 0, length, -1):
            llama_cpp.llama_memory_clear(self._memory, True)
            length = 0
        del self._known[length:]
        return length


def _common_prefix(first: Sequence[int], second: Sequence[int], limit: int) -> int:
    length = 0
    for a, b in zip(first, second[:limit], strict=False):
        if a != b:
            break
        length += 1
    return length


@contextmanager
def _sampler(sampling: Sampling, vocabulary_size: int) -> Iterator[Any]:
    """Make a sampler chain: penalties over the reply so far, then the likeliest few, the temperature, the nucleus, a draw.

    The penalties count the reply's own tokens and not the prompt's, as the OpenAI protocol defines them.
    """
    chain = llama_cpp.llama_sampler_chain_init(llama_cpp.llama_sampler_chain_default_params())
    try:
        if sampling.frequency_penalty or sampling.presence_penalty:
            _add(
                chain,
                llama_cpp.llama_sampler_init_penalties(
                    vocabulary_size, sampling.max_tokens, 1.0, sampling.frequency_penalty, sampling.presence_penalty
                ),
            )
        if sampling.temperature == 0.0:
            _add(chain, llama_cpp.llama_sampler_init_greedy())
        else:
            seed = sampling.seed if sampling.seed is not None else secrets.randbits(32)
            _add(chain, llama_cpp.llama_sampler_init_top_k(TOP_K))
            _add(chain, llama_cpp.llama_sampler_init_temp(sampling.temperature))
            _add(chain, llama_cpp.llama_sampler_init_top_p(sampling.top_p, 1))
            _add(chain, llama_cpp.llama_sampler_init_dist(seed))
        yield chain
    finally:
        llama_cpp.llama_sampler_free(chain)


def _add(chain: Any, sampler: Any) -> None:
    # A NULL would be accepted, and the parameter silently ignored.
    if not sampler:
        raise LlamaError("llama.cpp refused a sampler")
    llama_cpp.llama_sampler_chain_add(chain, sampler)
