"""One llama.cpp context for encoding: token ids in, the classification head's raw outputs out."""

from __future__ import annotations

import ctypes
from typing import Any

import llama_cpp
import numpy as np
from numpy.typing import NDArray

from limbic.runtime.llama import AbortFlag, LlamaError
from services.affect_head.head import ReadingAbortedError
from services.affect_head.window import CLS_AND_SEP

_ABORTED = 2  # llama_encode's status when the abort callback said so


class EncoderContext:
    """A context of a shared model. It belongs to one thread; only the abort flag of a call may be touched from others.

    Args:
        model: the loaded model's pointer; it must outlive the context.
        outputs: how many numbers the classification head puts out.
        tokens: most ids that one call may bring.
        threads: threads of a computation.
        flash_attention: how attention is computed.

    Raises:
        LlamaError: llama.cpp could not create it.
    """

    def __init__(self, model: Any, *, outputs: int, tokens: int, threads: int, flash_attention: bool) -> None:
        self._outputs = outputs
        self._limit = tokens
        self._every_token = (ctypes.c_int8 * tokens)(*[1] * tokens)
        self._abort = AbortFlag()
        params = llama_cpp.llama_context_default_params()
        # An encoder takes a text in one piece, so all three are the same; more tokens than n_ubatch would end the process.
        params.n_ctx = params.n_batch = params.n_ubatch = tokens
        params.n_seq_max = 1
        # Encoding uses n_threads_batch; the other is set too, so that no default of the machine's core count slips in.
        params.n_threads = params.n_threads_batch = threads
        params.embeddings = True
        params.pooling_type = llama_cpp.LLAMA_POOLING_TYPE_RANK
        # Never left to AUTO: two contexts of one kind must agree to the last bit.
        params.flash_attn_type = (
            llama_cpp.LLAMA_FLASH_ATTN_TYPE_ENABLED if flash_attention else llama_cpp.LLAMA_FLASH_ATTN_TYPE_DISABLED
        )
        params.no_perf = True
        self._context = llama_cpp.llama_init_from_model(model, params)
        if not self._context:
            raise LlamaError("llama.cpp could not create a context; the line before this one says why")

    def encode(self, ids: list[int], abort: AbortFlag) -> NDArray[np.float32]:
        """Return the raw outputs [outputs] for one sequence of token ids. Blocks for as long as that takes.

        Raises:
            ReadingAbortedError: the flag was set before it was done. The context can be used again.
            LlamaError: there are too many tokens, llama.cpp failed, or its outputs are not finite numbers.
        """
        count = len(ids)
        if not CLS_AND_SEP <= count <= self._limit:
            raise LlamaError(f"{count} tokens do not fit a context of {self._limit}")
        tokens = (llama_cpp.llama_token * count)(*ids)
        # What is left null llama.cpp fills in: positions from 0, sequence 0 (llama.h: llama_batch).
        batch = llama_cpp.llama_batch(
            n_tokens=count,
            token=ctypes.cast(tokens, llama_cpp.llama_token_p),
            logits=ctypes.cast(self._every_token, ctypes.POINTER(ctypes.c_int8)),
        )
        # The flag is the caller's, so a stop that comes too late for one utterance cannot hit the next. llama.cpp keeps the pointer
        # until the next call; so the flag is kept as long.
        abort.install(self._context)
        self._abort = abort
        status = llama_cpp.llama_encode(self._context, batch)
        if status == _ABORTED:
            raise ReadingAbortedError
        if status != 0:
            raise LlamaError(f"llama_encode returned {status} for {count} tokens")
        pointer = llama_cpp.llama_get_embeddings_seq(self._context, 0)
        outputs: NDArray[np.float32] = np.ctypeslib.as_array(pointer, (self._outputs,)).copy()
        if not np.isfinite(outputs).all():
            raise LlamaError("the head's outputs are not finite numbers")
        return outputs

    def close(self) -> None:
        """Free the context. Closing twice does nothing."""
        if self._context:
            llama_cpp.llama_free(self._context)
            self._context = None
