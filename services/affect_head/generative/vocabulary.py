"""A language model's tokens: text to ids and back, with control tokens kept out of what people say."""

from __future__ import annotations

import ctypes
from typing import Any

import llama_cpp

from limbic.runtime.llama import LlamaError

_PIECE_BYTES = 256
"""Most pieces are a few bytes, yet some vocabularies hold several hundred that are longer than 32."""

_NOT_WRITTEN_BY_PEOPLE = llama_cpp.LLAMA_TOKEN_ATTR_CONTROL | llama_cpp.LLAMA_TOKEN_ATTR_USER_DEFINED


class Vocabulary:
    """The vocabulary of a loaded model. For one thread.

    Args:
        model: the loaded model's pointer; it must outlive the vocabulary.

    Attributes:
        size: number of tokens.
        bos: the token that the model wants first, or None where it wants none.
    """

    def __init__(self, model: Any) -> None:
        self._vocab = llama_cpp.llama_model_get_vocab(model)
        self._buffer = ctypes.create_string_buffer(_PIECE_BYTES)
        self.size: int = llama_cpp.llama_vocab_n_tokens(self._vocab)
        bos = llama_cpp.llama_vocab_bos(self._vocab)
        self.bos: int | None = bos if bos >= 0 and llama_cpp.llama_vocab_get_add_bos(self._vocab) else None

    def written(self, text: str) -> list[int]:
        """Return the ids of words of ours, in which the spelling of a control token stands for that token."""
        return self._tokens(text, control=True)

    def said(self, text: str) -> list[int]:
        """Return the ids of words that somebody said. None of them is a control token, however it is spelt.

        llama.cpp leaves the spelling of control tokens alone here, but not that of tokens that are "user defined", such as Qwen3's
        `</think>`; those are taken apart.
        """
        ids = self._tokens(text, control=False)
        if not any(self._has_brackets(token) for token in ids):
            return ids
        apart: list[int] = []
        for token in ids:
            if self._has_brackets(token):
                piece = self._spelling(token)
                apart += self._tokens(piece[0], control=False) + self._tokens(piece[1:], control=False)
            else:
                apart.append(token)
        return apart

    def piece(self, token: int) -> bytes:
        """Return the bytes of a token: often no whole character. Empty for a control token."""
        count: int = llama_cpp.llama_token_to_piece(self._vocab, token, self._buffer, len(self._buffer), 0, False)
        if count < 0:
            self._buffer = ctypes.create_string_buffer(-count)
            count = llama_cpp.llama_token_to_piece(self._vocab, token, self._buffer, len(self._buffer), 0, False)
        return self._buffer.raw[:count]

    def special_text(self) -> dict[str, str]:
        """Return what chat templates call `bos_token` and `eos_token`; empty where the model has none."""
        tokens = {
            "bos_token": llama_cpp.llama_vocab_bos(self._vocab),
            "eos_token": llama_cpp.llama_vocab_eos(self._vocab),
        }
        return {name: self._spelling(token) if token >= 0 else "" for name, token in tokens.items()}

    def ends(self, token: int) -> bool:
        """Whether the model means by this token that it has finished."""
        return bool(llama_cpp.llama_vocab_is_eog(self._vocab, token))

    def _has_brackets(self, token: int) -> bool:
        attributes = llama_cpp.llama_vocab_get_attr(self._vocab, token)
        if not attributes & _NOT_WRITTEN_BY_PEOPLE:
            return False
        # Gemma also defines runs of spaces and line ends; they are words like any other.
        spelling = self._spelling(token)
        return len(spelling) > 1 and spelling[0] in "<[" and spelling[-1] in ">]"

    def _spelling(self, token: int) -> str:
        return (llama_cpp.llama_vocab_get_text(self._vocab, token) or b"").decode("utf-8", "replace")

    def _tokens(self, text: str, *, control: bool) -> list[int]:
        data = text.encode()
        # A token is at least one byte; a few more for what some vocabularies put first.
        room = len(data) + 8
        ids = (llama_cpp.llama_token * room)()
        count: int = llama_cpp.llama_tokenize(self._vocab, data, len(data), ids, room, False, control)
        if count < 0:
            raise LlamaError(f"llama_tokenize wants room for {-count} tokens in a text of {len(data)} bytes")
        return list(ids[:count])
