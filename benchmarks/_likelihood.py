"""How likely an embedded model finds a text: what sampling shows with noise, without it."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence

import llama_cpp
import numpy as np
from numpy.typing import NDArray

from limbic.runtime.models import ModelFile
from services.living_llm.engine import Engine
from services.living_llm.formats import choose_format
from services.living_llm.speech import Speech


class Likelihood:
    """A model that judges replies.

    Args:
        file: the model.
        prompt_format: auto, transcript or chat-template.
        threads: threads of a computation.
    """

    def __init__(self, file: ModelFile, *, prompt_format: str, threads: int) -> None:
        file.verify()
        self._engine = Engine(file.path, context_tokens=2048, threads=threads)
        wanted = prompt_format if prompt_format != "auto" else file.prompt_format or "auto"
        self._format = choose_format(wanted, self._engine.chat_template, self._engine.vocabulary)

    def close(self) -> None:
        """Free the model."""
        self._engine.close()

    def of(self, speech: Speech, reply: str) -> NDArray[np.float64]:
        """Return the natural logarithm of each of a reply's tokens' probability, given the conversation and without any steering."""
        written = self._format.write(speech, speech.messages)
        vocabulary = self._engine.vocabulary
        prompt = vocabulary.prompt(written.text, control=written.control)
        words = vocabulary.tokens(reply if written.text[-1].isspace() else f" {reply}", control=False)
        self._engine.evaluate(prompt)
        rows = self._logits([prompt[-1], *words[:-1]])
        rows -= rows.max(axis=1, keepdims=True)
        chosen = rows[np.arange(len(words)), words]
        return np.asarray(chosen - np.log(np.exp(rows).sum(axis=1)), np.float64)

    def _logits(self, tokens: Sequence[int]) -> NDArray[np.float64]:
        # The engine asks for the last row only; here every row counts. The prompt's last token is computed once more for its row.
        engine = self._engine
        engine._keep(len(engine.known) - 1)
        array = (llama_cpp.llama_token * len(tokens))(*tokens)
        marks = (ctypes.c_int8 * len(tokens))(*[1] * len(tokens))
        batch = llama_cpp.llama_batch(
            n_tokens=len(tokens),
            token=ctypes.cast(array, llama_cpp.llama_token_p),
            logits=ctypes.cast(marks, ctypes.POINTER(ctypes.c_int8)),
        )
        if status := llama_cpp.llama_decode(engine._context, batch):
            raise RuntimeError(f"llama_decode returned {status}")
        size = engine.vocabulary.size
        rows = [
            np.ctypeslib.as_array(llama_cpp.llama_get_logits_ith(engine._context, row), (size,)).astype(np.float64)
            for row in range(len(tokens))
        ]
        return np.stack(rows)
