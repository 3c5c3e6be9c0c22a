"""A language model's tokens, with control tokens kept out of what people say."""

from __future__ import annotations

import llama_cpp

from limbic.runtime.vocabulary import LlamaVocabulary

_NOT_WRITTEN_BY_PEOPLE = llama_cpp.LLAMA_TOKEN_ATTR_CONTROL | llama_cpp.LLAMA_TOKEN_ATTR_USER_DEFINED


class Vocabulary(LlamaVocabulary):
    """The vocabulary of a loaded model. For one thread."""

    def written(self, text: str) -> list[int]:
        """Return the ids of words of ours, in which the spelling of a control token stands for that token."""
        return self.tokens(text, control=True)

    def said(self, text: str) -> list[int]:
        """Return the ids of words that somebody said. None of them is a control token, however it is spelt.

        llama.cpp leaves the spelling of control tokens alone here, but not that of tokens that are "user defined", such as Qwen3's
        `</think>`; those are taken apart.
        """
        ids = self.tokens(text, control=False)
        if not any(self._has_brackets(token) for token in ids):
            return ids
        apart: list[int] = []
        for token in ids:
            if self._has_brackets(token):
                spelling = self.spelling(token)
                apart += self.tokens(spelling[0], control=False) + self.tokens(spelling[1:], control=False)
            else:
                apart.append(token)
        return apart

    def special_text(self) -> dict[str, str]:
        """Return what chat templates call `bos_token` and `eos_token`; empty where the model has none."""
        return {"bos_token": self.bos_text, "eos_token": self.eos_text}

    def _has_brackets(self, token: int) -> bool:
        if not self.attributes(token) & _NOT_WRITTEN_BY_PEOPLE:
            return False
        # Gemma also defines runs of spaces and line ends; they are words like any other.
        spelling = self.spelling(token)
        return len(spelling) > 1 and spelling[0] in "<[" and spelling[-1] in ">]"
