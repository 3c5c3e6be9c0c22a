"""One llama.cpp context that keeps a prompt's opening and answers three questions about what follows, in one pass.

Memory holds the opening for three sequences at once. A message's tokens belong to all three as well and are computed once; each
question belongs to one of them, so none sees the others. Logits are computed in three places only: after each question.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any

import llama_cpp
import numpy as np
from numpy.typing import NDArray

from limbic.runtime.llama import AbortFlag, LlamaError
from services.affect_head.head import AXES, ReadingAbortedError

MICRO_BATCH = 256
"""Tokens that are computed at once. llama.cpp sets memory aside for the logits of as many, and more gains nothing on a CPU."""

_ABORTED = 2  # llama_decode's status when the abort callback said so
_SEQUENCES = len(AXES)
_ALL = tuple(range(_SEQUENCES))


class ScoringContext:
    """A context of a shared model. It belongs to one thread; only the abort flag of a call may be touched from others.

    Args:
        model: the loaded model's pointer; it must outlive the context.
        opening: ids that every prompt begins with. Computed here, which blocks.
        tokens: most ids that may follow the opening: message, questions, and what is generated after them.
        threads: threads of a computation.

    Raises:
        LlamaError: llama.cpp could not create it, or compute the opening.
    """

    def __init__(self, model: Any, *, opening: Sequence[int], tokens: int, threads: int) -> None:
        self._opening = tuple(opening)
        self._room = tokens
        self._vocabulary_size: int = llama_cpp.llama_vocab_n_tokens(llama_cpp.llama_model_get_vocab(model))
        self._abort = AbortFlag()
        self._batch: Any = None
        window = len(self._opening) + tokens
        params = llama_cpp.llama_context_default_params()
        params.n_ctx = params.n_batch = window
        params.n_ubatch = min(MICRO_BATCH, window)
        params.n_seq_max = _SEQUENCES
        # One memory for all sequences, so that a token can belong to several of them.
        params.kv_unified = True
        # A sliding window that had forgotten the opening could not go back to it.
        params.swa_full = True
        params.n_threads = params.n_threads_batch = threads
        # Never left to AUTO: two contexts of one kind must agree to the last bit.
        params.flash_attn_type = llama_cpp.LLAMA_FLASH_ATTN_TYPE_DISABLED
        params.no_perf = True
        self._context = llama_cpp.llama_init_from_model(model, params)
        if not self._context:
            raise LlamaError("llama.cpp could not create a context; the line before this one says why")
        self._memory = llama_cpp.llama_get_memory(self._context)
        self._batch = llama_cpp.llama_batch_init(window, 0, _SEQUENCES)
        try:
            self._compute_opening()
        except LlamaError:
            self.close()
            raise

    def score(self, ids: Sequence[int], questions: Sequence[Sequence[int]], abort: AbortFlag) -> NDArray[np.float32]:
        """Return the next token's logits after each question, [axes, vocabulary]. Blocks for as long as that takes.

        Args:
            ids: what follows the opening.
            questions: for each axis, what follows that.
            abort: stops the computation.

        Raises:
            ReadingAbortedError: the flag was set before it was done. The context can be used again.
            LlamaError: there are too many tokens, llama.cpp failed, or its outputs are not finite numbers.
        """
        if len(ids) + sum(map(len, questions)) > self._room:
            raise LlamaError(f"{len(ids)} tokens and their questions do not fit a context with room for {self._room}")
        self._go_back()
        start = len(self._opening)
        self._clear()
        for place, token in enumerate(ids):
            self._add(token, start + place, _ALL, wanted=False)
        ends = []
        for axis, question in enumerate(questions):
            for place, token in enumerate(question):
                last = place == len(question) - 1
                self._add(token, start + len(ids) + place, (axis,), wanted=last)
            ends.append(self._batch.n_tokens - 1)
        self._decode(abort)
        return np.stack([self._logits(end) for end in ends])

    def continue_after(self, kept: int, ids: Sequence[int], abort: AbortFlag) -> NDArray[np.float32]:
        """Forget what follows the opening and the next `kept` tokens, put ids there, and return the logits after them.

        Raises:
            ReadingAbortedError: the flag was set before it was done. The context can be used again.
            LlamaError: there are too many tokens, llama.cpp failed, or its outputs are not finite numbers.
        """
        if kept + len(ids) > self._room:
            raise LlamaError(f"{kept} and {len(ids)} tokens do not fit a context with room for {self._room}")
        start = len(self._opening) + kept
        self._forget(start)
        self._clear()
        for place, token in enumerate(ids):
            self._add(token, start + place, (0,), wanted=place == len(ids) - 1)
        self._decode(abort)
        return self._logits(len(ids) - 1)

    def close(self) -> None:
        """Free the context. Closing twice does nothing."""
        if self._batch is not None:
            llama_cpp.llama_batch_free(self._batch)
            self._batch = None
        if self._context:
            llama_cpp.llama_free(self._context)
            self._context = None

    def _compute_opening(self) -> None:
        llama_cpp.llama_memory_clear(self._memory, True)
        self._clear()
        for place, token in enumerate(self._opening):
            self._add(token, place, _ALL, wanted=place == len(self._opening) - 1)
        # Not under the caller's flag: whoever comes next needs it as well.
        self._decode(AbortFlag())

    def _go_back(self) -> None:
        """Forget everything after the opening. An aborted or failed call leaves parts of its batch behind, or takes more away."""
        self._forget(len(self._opening))
        last = len(self._opening) - 1
        if any(llama_cpp.llama_memory_seq_pos_max(self._memory, sequence) != last for sequence in _ALL):
            self._compute_opening()

    def _forget(self, start: int) -> None:
        for sequence in _ALL:
            if not llama_cpp.llama_memory_seq_rm(self._memory, sequence, start, -1):
                raise LlamaError("this model cannot go back to the end of its prompt's opening")

    def _clear(self) -> None:
        self._batch.n_tokens = 0

    def _add(self, token: int, position: int, sequences: Sequence[int], *, wanted: bool) -> None:
        if not 0 <= token < self._vocabulary_size:
            raise LlamaError(f"{token} is no token of a vocabulary of {self._vocabulary_size}")
        batch, place = self._batch, self._batch.n_tokens
        batch.token[place], batch.pos[place], batch.logits[place] = token, position, wanted
        batch.n_seq_id[place] = len(sequences)
        for index, sequence in enumerate(sequences):
            batch.seq_id[place][index] = sequence
        batch.n_tokens = place + 1

    def _decode(self, abort: AbortFlag) -> None:
        # The flag is the caller's, so a stop that comes too late for one reading cannot hit the next. llama.cpp keeps the pointer
        # until the next call; so the flag is kept as long.
        abort.install(self._context)
        self._abort = abort
        status = llama_cpp.llama_decode(self._context, self._batch)
        if status == _ABORTED:
            raise ReadingAbortedError
        if status != 0:
            raise LlamaError(f"llama_decode returned {status} for {self._batch.n_tokens} tokens")

    def _logits(self, place: int) -> NDArray[np.float32]:
        pointer = llama_cpp.llama_get_logits_ith(self._context, place)
        if not ctypes.cast(pointer, ctypes.c_void_p).value:
            raise LlamaError(f"llama.cpp has no logits for token {place} of the batch")
        logits: NDArray[np.float32] = np.ctypeslib.as_array(pointer, (self._vocabulary_size,)).copy()
        if not np.isfinite(logits).all():
            raise LlamaError("the model's outputs are not finite numbers")
        return logits
