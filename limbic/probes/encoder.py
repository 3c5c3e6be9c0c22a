"""The base encoder as a sentence encoder: all-MiniLM-L6-v2 through llama.cpp in this process, mean pooling, unit vectors."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import llama_cpp
import numpy as np

from limbic.probes.errors import NotProbedError
from limbic.probes.register import Embeddings
from limbic.runtime.llama import LlamaError, load_model

WINDOW = 256
"""Tokens of a sentence at most; what all-MiniLM-L6-v2 was trained with. The rest of a longer one is left out."""

FILE = "sentence-encoder-minilm-l6-v2-f16.gguf"


def encoder_file(models: Path) -> Path:
    """Return the encoder's GGUF below a folder, written there from the installed base if it is missing. Takes a second then.

    Raises:
        NotProbedError: the base is not installed, or is not what it should be.
    """
    path = models / FILE
    if not path.is_file():
        from training.base import base_folder
        from training.errors import TrainingError
        from training.export import assemble_encoder
        from training.gguf_file import write_whole

        try:
            write_whole(path, assemble_encoder(base_folder()), "F16")
        except TrainingError as error:
            raise NotProbedError(f"the sentence encoder cannot be made: {error}") from None
    return path


class SentenceEncoder:
    """A loaded encoder with a context of its own. Blocks while it loads; belongs to one thread at a time.

    Args:
        path: its GGUF.
        threads: of its computations.

    Raises:
        LlamaError: llama.cpp refused it.
    """

    def __init__(self, path: Path, threads: int = 1) -> None:
        self._model = load_model(path)
        params = llama_cpp.llama_context_default_params()
        params.n_ctx = params.n_batch = params.n_ubatch = WINDOW
        params.n_seq_max = 1
        params.n_threads = params.n_threads_batch = threads
        params.embeddings = True
        params.pooling_type = llama_cpp.LLAMA_POOLING_TYPE_MEAN
        params.flash_attn_type = llama_cpp.LLAMA_FLASH_ATTN_TYPE_DISABLED
        params.no_perf = True
        self._context = llama_cpp.llama_init_from_model(self._model, params)
        if not self._context:
            llama_cpp.llama_model_free(self._model)
            raise LlamaError("llama.cpp could not create a context; the line before this one says why")
        self._vocab = llama_cpp.llama_model_get_vocab(self._model)
        self._width = llama_cpp.llama_model_n_embd(self._model)
        self._every_token = (ctypes.c_int8 * WINDOW)(*[1] * WINDOW)

    def embed(self, sentences: Sequence[str]) -> Embeddings:
        """Return the sentences' unit vectors, shape (n, width).

        Raises:
            LlamaError: llama.cpp failed.
        """
        return np.stack([self._one(sentence) for sentence in sentences])

    def close(self) -> None:
        """Free the model and its context. Closing twice does nothing."""
        if self._context:
            llama_cpp.llama_free(self._context)
            llama_cpp.llama_model_free(self._model)
            self._context = self._model = None

    def _one(self, sentence: str) -> Embeddings:
        ids = self._tokens(sentence)
        tokens = (llama_cpp.llama_token * len(ids))(*ids)
        batch = llama_cpp.llama_batch(
            n_tokens=len(ids),
            token=ctypes.cast(tokens, llama_cpp.llama_token_p),
            logits=ctypes.cast(self._every_token, ctypes.POINTER(ctypes.c_int8)),
        )
        if (status := llama_cpp.llama_encode(self._context, batch)) != 0:
            raise LlamaError(f"llama_encode returned {status} for {len(ids)} tokens")
        pointer: Any = llama_cpp.llama_get_embeddings_seq(self._context, 0)
        vector = np.ctypeslib.as_array(pointer, (self._width,)).astype(np.float64)
        length = float(np.linalg.norm(vector))
        if not np.isfinite(length) or length == 0.0:
            raise LlamaError("the encoder's outputs are not finite numbers")
        unit: Embeddings = vector / length
        return unit

    def _tokens(self, sentence: str) -> list[int]:
        data = sentence.encode()
        # No token is shorter than a byte, and two frame the rest.
        room = len(data) + 2
        buffer = (llama_cpp.llama_token * room)()
        count = llama_cpp.llama_tokenize(self._vocab, data, len(data), buffer, room, False, False)
        framed = [llama_cpp.llama_vocab_bos(self._vocab), *buffer[:count][: WINDOW - 2]]
        return [*framed, llama_cpp.llama_vocab_sep(self._vocab)]
