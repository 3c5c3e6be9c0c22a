"""A model's tokens: text to ids and back, with control tokens kept out of what people say."""

from __future__ import annotations

import ctypes
from typing import Any

import llama_cpp

from limbic.runtime.llama import LlamaError
from services.living_llm.control import ControlSpellings

# Most pieces are a few bytes, yet some vocabularies hold several hundred that are longer than 32.
_PIECE_BYTES = 256


class Vocabulary:
    """The vocabulary of a loaded model. Reads only; may be used from any thread while the model lives.

    Attributes:
        size: number of tokens.
        bos: the token that the model wants first, or None where it wants none.
        bos_text, eos_text: what chat templates call `bos_token` and `eos_token`; empty where the model has none.
        longest_piece: bytes of the longest token, so that no text shorter than N bytes makes fewer than N / longest_piece tokens.
    """

    def __init__(self, model: Any) -> None:
        self._vocab = llama_cpp.llama_model_get_vocab(model)
        self._buffer = ctypes.create_string_buffer(_PIECE_BYTES)
        self.size: int = llama_cpp.llama_vocab_n_tokens(self._vocab)
        bos = llama_cpp.llama_vocab_bos(self._vocab)
        self.bos: int | None = bos if bos >= 0 and llama_cpp.llama_vocab_get_add_bos(self._vocab) else None
        self.bos_text = self._text(bos)
        self.eos_text = self._text(llama_cpp.llama_vocab_eos(self._vocab))
        self.longest_piece = 1
        control: list[str] = []
        for token in range(self.size):
            raw: bytes = llama_cpp.llama_vocab_get_text(self._vocab, token) or b""
            self.longest_piece = max(self.longest_piece, len(raw))
            attributes = llama_cpp.llama_vocab_get_attr(self._vocab, token)
            if raw and attributes & (llama_cpp.LLAMA_TOKEN_ATTR_CONTROL | llama_cpp.LLAMA_TOKEN_ATTR_UNKNOWN):
                control.append(raw.decode("utf-8", "replace"))
        self._control = ControlSpellings(control)

    def tokens(self, text: str, *, control: bool) -> list[int]:
        """Return the ids of a text, without anything added before or after it.

        Args:
            text: any text.
            control: whether the spelling of a control token stands for that token.

        Raises:
            LlamaError: the text is too long for llama.cpp's own counter.
        """
        raw = text.encode("utf-8")
        # A token is at least one byte; one more for a space that some vocabularies put first.
        room = len(raw) + 8
        ids = (llama_cpp.llama_token * room)()
        count: int = llama_cpp.llama_tokenize(self._vocab, raw, len(raw), ids, room, False, control)
        if count < 0:
            raise LlamaError(f"llama_tokenize wants room for {-count} tokens in a text of {len(raw)} bytes")
        return list(ids[:count])

    def prompt(self, text: str, *, control: bool) -> list[int]:
        """Return the ids of a whole prompt: `tokens` behind exactly one mark of its beginning, where the model has one.

        Raises:
            LlamaError: as `tokens`.
        """
        ids = self.tokens(text, control=control)
        # Templates often write it themselves.
        if self.bos is not None and ids[:1] != [self.bos]:
            ids.insert(0, self.bos)
        return ids

    def harmless(self, text: str) -> str:
        """Return the text without any spelling of a control token, so that none can be forged."""
        return self._control.removed(text)

    def piece(self, token: int) -> bytes:
        """Return the bytes of a token: often no whole character. Empty for a control token. For one thread only."""
        count: int = llama_cpp.llama_token_to_piece(self._vocab, token, self._buffer, len(self._buffer), 0, False)
        if count < 0:
            self._buffer = ctypes.create_string_buffer(-count)
            count = llama_cpp.llama_token_to_piece(self._vocab, token, self._buffer, len(self._buffer), 0, False)
        return self._buffer.raw[:count]

    def opening_with(self, sign: str) -> tuple[int, ...]:
        """Return the tokens whose text begins with a sign, white space apart; none for the empty sign. For one thread only."""
        wanted = sign.encode()
        return tuple(token for token in range(self.size) if wanted and self.piece(token).lstrip().startswith(wanted))

    def ends_generation(self, token: int) -> bool:
        """Whether the model means by this token that it has finished."""
        return bool(llama_cpp.llama_vocab_is_eog(self._vocab, token))

    def _text(self, token: int) -> str:
        if token < 0:
            return ""
        return (llama_cpp.llama_vocab_get_text(self._vocab, token) or b"").decode("utf-8", "replace")
