"""The `encoder` head: a BERT with a classification head, run by llama.cpp in this process.

llama.cpp ends the process on some inputs (more tokens than a context takes, a position beyond the trained ones), so nothing
reaches it here that has not been counted: a file is checked before it is loaded, a text is cut before it is encoded.

The model is shared; each reader has contexts of its own, for they are not re-entrant. ctypes releases the interpreter's
lock during a call, so readers run side by side on the cores.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import llama_cpp

from limbic.runtime.llama import AbortFlag, LlamaError, load_model
from services.affect_head.context import EncoderContext
from services.affect_head.decoder import Decoder
from services.affect_head.errors import HeadFileError
from services.affect_head.head import HeadCard, Reading, Utterance
from services.affect_head.head_file import HeadFile, read_head_file
from services.affect_head.normalizer import NORMALIZERS
from services.affect_head.window import fit

SHORT_TOKENS = 63
"""Up to here attention is computed plainly, beyond it as flash attention, whose fast path on a CPU begins at 64 tokens. On one core
the plain way takes 0.85 of the other's time at 20 tokens, 0.66 at 63, but 1.17 at 64 and 1.9 at 512. The two differ in the last
bits (about 0.001 of a raw output), so the choice must hang on nothing but the number of tokens: then the same words still give
the same reading."""

_TOKEN_ROOM = 8192
"""Tokens that a reader has room for before it must ask for more; 8,000 characters of ASCII never need more."""


class EncoderHead:
    """A head whose model file is loaded. Blocks for the time that takes.

    Args:
        path: the GGUF file.
        sha256: its content, as verified by the caller; reported in the card.
        threads: threads of each reader's computations.

    Raises:
        HeadFileError: the file is no head that can be served.
        LlamaError: llama.cpp refused it.
    """

    def __init__(self, path: Path, *, sha256: str, threads: int) -> None:
        self._file = read_head_file(path)
        self._threads = threads
        self._model = load_model(path)
        outputs = llama_cpp.llama_model_n_cls_out(self._model)
        if outputs != len(self._file.outputs):
            self.close()
            raise HeadFileError(path, f"llama.cpp sees {outputs} outputs, the file names {len(self._file.outputs)}")
        self._card = HeadCard(
            identity=self._file.identity,
            sha256=sha256,
            emotions=self._file.emotions,
            thresholds=self._file.thresholds,
            context=self._file.context,
            context_tokens=self._file.window,
            provenance_json=self._file.provenance_json,
        )

    @property
    def card(self) -> HeadCard:
        """What the head says about itself."""
        return self._card

    def open_reader(self) -> EncoderReader:
        """Make a reader with a context of its own.

        Raises:
            LlamaError: there is no memory for it.
        """
        return EncoderReader(self._model, self._file, self._threads)

    def close(self) -> None:
        """Free the model. Its readers must be closed before. Closing twice does nothing."""
        if self._model:
            llama_cpp.llama_model_free(self._model)
            self._model = None


class EncoderReader:
    """Two contexts, for short texts and for long ones, and the tokenizer's buffer.

    Args:
        model: the loaded model's pointer; it must outlive the reader.
        file: what the model's file says.
        threads: threads of its computations.
    """

    def __init__(self, model: Any, file: HeadFile, threads: int) -> None:
        self._window = file.window
        self._rule = file.context
        self._normalize = NORMALIZERS[file.normalizer]
        self._decoder = Decoder(file)
        self._vocab = llama_cpp.llama_model_get_vocab(model)
        self._cls = llama_cpp.llama_vocab_bos(self._vocab)
        self._sep = llama_cpp.llama_vocab_sep(self._vocab)
        self._tokens = (llama_cpp.llama_token * _TOKEN_ROOM)()
        short = min(SHORT_TOKENS, file.window)
        outputs = len(file.outputs)
        self._short = EncoderContext(model, outputs=outputs, tokens=short, threads=threads, flash_attention=False)
        try:
            self._long = EncoderContext(
                model, outputs=outputs, tokens=file.window, threads=threads, flash_attention=True
            )
        except LlamaError:
            self._short.close()
            raise

    def read(self, utterance: Utterance, abort: AbortFlag) -> Reading:
        """Read an utterance. Blocks for as long as that takes: on one core about 0.3 ms a token for six layers of width 384.

        Raises:
            ReadingAbortedError: the flag was set before it was done. The reader can be used again.
            LlamaError: llama.cpp failed, or its outputs are not finite numbers.
        """
        started = time.perf_counter()
        words = self._tokenize(utterance.text)
        turns = self._rule.choose(words, utterance.context, self._tokenize)
        ids, truncated, beside = fit(words, turns, window=self._window, cls=self._cls, sep=self._sep)
        context = self._short if len(ids) <= SHORT_TOKENS else self._long
        outputs = context.encode(ids, abort)
        axes, uncertainty, confidence, emotions = self._decoder.decode(outputs)
        latency_s = time.perf_counter() - started
        return Reading(axes, uncertainty, confidence, emotions, truncated, not words, beside, latency_s)

    def close(self) -> None:
        """Free both contexts. Closing twice does nothing."""
        self._short.close()
        self._long.close()

    def _tokenize(self, text: str) -> list[int]:
        data = self._normalize(text).encode()
        count = self._tokenize_into_buffer(data)
        if count < 0:
            self._tokens = (llama_cpp.llama_token * -count)()
            count = self._tokenize_into_buffer(data)
        return list(self._tokens[:count])

    def _tokenize_into_buffer(self, data: bytes) -> int:
        # Neither special tokens added (the layout does that) nor parsed: "[SEP]" in a text is five characters.
        return int(
            llama_cpp.llama_tokenize(self._vocab, data, len(data), self._tokens, len(self._tokens), False, False)
        )
