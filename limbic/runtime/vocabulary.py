"""A language model's tokens, as llama.cpp knows them: text to ids and back."""

from __future__ import annotations

import ctypes
from typing import Any

import llama_cpp

from limbic.runtime.llama import LlamaError

_PIECE_BYTES = 256
"""Most pieces are a few bytes, yet some vocabularies hold several hundred that are longer than 32."""


class LlamaVocabulary:
    """The vocabulary of a loaded model. Reads only; but for `piece`, which belongs to one thread, any thread may use it.

    Args:
        model: the loaded model's pointer; it must outlive the vocabulary.

    Attributes:
        size: number of tokens.
        bos: the token that the model wants first, or None where it wants none.
        bos_text, eos_text: what chat templates call `bos_token` and `eos_token`; empty where the model has none.
    """

    def __init__(self, model: Any) -> None:
        self._vocab = llama_cpp.llama_model_get_vocab(model)
        self._buffer = ctypes.create_string_buffer(_PIECE_BYTES)
        self.size: int = llama_cpp.llama_vocab_n_tokens(self._vocab)
        bos = llama_cpp.llama_vocab_bos(self._vocab)
        self.bos: int | None = bos if bos >= 0 and llama_cpp.llama_vocab_get_add_bos(self._vocab) else None
        self.bos_text = self.spelling(bos)
        self.eos_text = self.spelling(llama_cpp.llama_vocab_eos(self._vocab))

    def tokens(self, text: str, *, control: bool) -> list[int]:
        """Return the ids of a text, without anything added before or after it.

        Args:
            text: any text.
            control: whether the spelling of a control token stands for that token.

        Raises:
            LlamaError: the text is too long for llama.cpp's own counter.
        """
        raw = text.encode("utf-8")
        # A token is at least one byte; a few more for what some vocabularies put first.
        room = len(raw) + 8
        ids = (llama_cpp.llama_token * room)()
        count: int = llama_cpp.llama_tokenize(self._vocab, raw, len(raw), ids, room, False, control)
        if count < 0:
            raise LlamaError(f"llama_tokenize wants room for {-count} tokens in a text of {len(raw)} bytes")
        return list(ids[:count])

    def piece(self, token: int) -> bytes:
        """Return the bytes of a token: often no whole character. Empty for a control token. For one thread only."""
        count: int = llama_cpp.llama_token_to_piece(self._vocab, token, self._buffer, len(self._buffer), 0, False)
        if count < 0:
            self._buffer = ctypes.create_string_buffer(-count)
            count = llama_cpp.llama_token_to_piece(self._vocab, token, self._buffer, len(self._buffer), 0, False)
        return self._buffer.raw[:count]

    def ends_generation(self, token: int) -> bool:
        """Whether the model means by this token that it has finished."""
        return bool(llama_cpp.llama_vocab_is_eog(self._vocab, token))

    def attributes(self, token: int) -> int:
        """Return a token's kind, as a set of llama.cpp's LLAMA_TOKEN_ATTR bits."""
        return int(llama_cpp.llama_vocab_get_attr(self._vocab, token))

    def spelling(self, token: int) -> str:
        """Return how a token stands in the vocabulary; empty for an id below 0, which llama.cpp uses for none."""
        return self.raw_spelling(token).decode("utf-8", "replace")

    def raw_spelling(self, token: int) -> bytes:
        """Return the same in bytes, of which some vocabularies hold that are no UTF-8."""
        return (llama_cpp.llama_vocab_get_text(self._vocab, token) or b"") if token >= 0 else b""
