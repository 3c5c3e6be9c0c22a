"""A model's tokens, with control tokens kept out of what people say."""

from __future__ import annotations

from typing import Any

import llama_cpp

from limbic.runtime.vocabulary import LlamaVocabulary
from services.living_llm.control import ControlSpellings

_CONTROL = llama_cpp.LLAMA_TOKEN_ATTR_CONTROL | llama_cpp.LLAMA_TOKEN_ATTR_UNKNOWN


class Vocabulary(LlamaVocabulary):
    """The vocabulary of a loaded model.

    Args:
        model: the loaded model's pointer; it must outlive the vocabulary.

    Attributes:
        longest_piece: bytes of the longest token, so that no text shorter than N bytes makes fewer than N / longest_piece tokens.
    """

    def __init__(self, model: Any) -> None:
        super().__init__(model)
        self.longest_piece = 1
        control: list[str] = []
        for token in range(self.size):
            raw = self.raw_spelling(token)
            self.longest_piece = max(self.longest_piece, len(raw))
            if raw and self.attributes(token) & _CONTROL:
                control.append(raw.decode("utf-8", "replace"))
        self._control = ControlSpellings(control)

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

    def opening_with(self, sign: str) -> tuple[int, ...]:
        """Return the tokens whose text begins with a sign, white space apart; none for the empty sign. For one thread only."""
        wanted = sign.encode()
        return tuple(token for token in range(self.size) if wanted and self.piece(token).lstrip().startswith(wanted))
