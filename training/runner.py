"""Raw outputs from a GGUF through llama.cpp's low-level API: what the evaluation measures is what will be served."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

# Before llama_cpp itself: it sets the environment that llama.cpp reads when it is loaded.
from limbic.runtime.llama import LlamaError, load_model  # isort: skip
import llama_cpp.llama_cpp as llama

from training.errors import ModelError
from training.outputs import EXPORTED, EXPORTED_NAMES


class GgufRunner:
    """One model, one context, one text at a time: on one core, packing texts does not pay."""

    def __init__(self, path: Path, max_tokens: int, threads: int = 1) -> None:
        """Load a head.

        Args:
            path: the GGUF.
            max_tokens: texts are cut to this many tokens, [CLS] and [SEP] included.
            threads: CPU threads of one call.

        Raises:
            ModelError: if llama.cpp cannot load the file, or the file is no head of ours.
        """
        self.max_tokens = max_tokens
        self._context = self._batch = None
        try:
            self._model = load_model(path)
        except LlamaError as error:
            raise ModelError(str(error)) from error
        names = tuple(
            (llama.llama_model_cls_label(self._model, index) or b"").decode()
            for index in range(llama.llama_model_n_cls_out(self._model))
        )
        if names != EXPORTED_NAMES:
            self.close()
            raise ModelError(f"{path} has other outputs than an affect head's {EXPORTED}.")
        self._vocabulary = llama.llama_model_get_vocab(self._model)
        self._context = llama.llama_init_from_model(self._model, _context_parameters(max_tokens, threads))
        if not self._context:
            self.close()
            raise ModelError(f"llama.cpp cannot make a context of {max_tokens} tokens for {path}.")
        self._batch = llama.llama_batch_init(max_tokens, 0, 1)

    def tokenize(self, text: str) -> list[int]:
        """Return the text's token ids with [CLS] and [SEP], cut at the end to the maximum."""
        data = text.encode()
        room = len(data) + 2
        ids = (llama.llama_token * room)()
        count = llama.llama_tokenize(self._vocabulary, data, len(data), ids, room, True, False)
        tokens = list(ids[:count])
        return tokens if count <= self.max_tokens else [*tokens[: self.max_tokens - 1], tokens[-1]]

    def outputs(self, tokens: list[int]) -> NDArray[np.float32]:
        """Return the raw outputs, float32 [EXPORTED], for one text's token ids.

        Raises:
            ModelError: if there are too many tokens, or llama.cpp reports a failure.
        """
        # More tokens than the context holds would abort the process.
        if not 0 < len(tokens) <= self.max_tokens:
            raise ModelError(f"A text of {len(tokens)} tokens, but 1 to {self.max_tokens} can be read.")
        batch = self._batch
        assert batch is not None, "the runner is closed"
        batch.n_tokens = len(tokens)
        for place, token in enumerate(tokens):
            batch.token[place], batch.pos[place] = token, place
            batch.n_seq_id[place], batch.seq_id[place][0], batch.logits[place] = 1, 0, 1
        if (status := llama.llama_encode(self._context, batch)) != 0:
            raise ModelError(f"llama.cpp could not read a text (status {status}).")
        values = llama.llama_get_embeddings_seq(self._context, 0)
        return np.ctypeslib.as_array(values, (EXPORTED,)).copy()

    def read(self, texts: Iterable[str]) -> NDArray[np.float32]:
        """Return the raw outputs of every text, float32 [texts, EXPORTED]."""
        return np.stack([self.outputs(self.tokenize(text)) for text in texts])

    def close(self) -> None:
        """Free the context and the model; closing twice does nothing."""
        if self._batch is not None:
            llama.llama_batch_free(self._batch)
        if self._context:
            llama.llama_free(self._context)
        if self._model:
            llama.llama_model_free(self._model)
        self._batch = self._context = self._model = None

    def __enter__(self) -> Self:
        """Return the runner itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the runner."""
        self.close()


def _context_parameters(max_tokens: int, threads: int) -> llama.llama_context_params:
    parameters = llama.llama_context_default_params()
    # An encoder takes a text in one piece, so all three are the longest text's length.
    parameters.n_ctx = parameters.n_batch = parameters.n_ubatch = max_tokens
    parameters.n_seq_max = 1
    parameters.n_threads = parameters.n_threads_batch = threads
    parameters.embeddings = True
    # Left to itself llama.cpp may pick flash attention, which rounds differently and is slower for one text.
    parameters.flash_attn_type = llama.LLAMA_FLASH_ATTN_TYPE_DISABLED
    return parameters
