"""From what is to be said to the tokens of a prompt that fits the model's window. Uses the vocabulary only, so any thread may."""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace

from services.living_llm.engine import common_prefix
from services.living_llm.formats import PromptFormat, WrittenPrompt
from services.living_llm.prompt import fit_history, too_long, without_oldest_turn
from services.living_llm.speech import Message, Role, Speech
from services.living_llm.vocabulary import Vocabulary

_COUNTED_MESSAGES = 4096
"""Messages whose length in tokens is remembered: the whole history of a few conversations, so that a turn counts only what is new."""

_PROBES = (("a", ""), ("1", "Be calm."))
"""Two next messages that have nothing in common, nor the words of state in front of or behind them: what prompts that end in them share
is what any next prompt begins with."""


@dataclass(frozen=True, slots=True)
class Composed:
    """A prompt as tokens and as it was written, and how many of the oldest messages it leaves out."""

    tokens: list[int]
    prompt: WrittenPrompt
    omitted: int


class Composer:
    """Composes prompts for one model.

    Args:
        prompt_format: how the model is prompted.
        vocabulary: its tokens.
        context_tokens: its window.
    """

    def __init__(self, prompt_format: PromptFormat, vocabulary: Vocabulary, context_tokens: int) -> None:
        self._format = prompt_format
        self._vocabulary = vocabulary
        self._context_tokens = context_tokens
        self._count = functools.lru_cache(maxsize=_COUNTED_MESSAGES)(self._tokens_of)

    def compose(self, speech: Speech) -> Composed:
        """Return the prompt, with as much of the history as fits the window.

        Raises:
            PromptTooLongError: persona and last message do not fit.
            PromptFormatError: the prompt cannot be written.
        """
        persona_tokens = self._count(self._format.preamble(speech.persona))
        history = fit_history(speech.messages, persona_tokens, self._count, self._context_tokens)
        while True:
            prompt = self._format.write(speech, history)
            tokens = self._vocabulary.prompt(prompt.text, control=prompt.control)
            if len(tokens) < self._context_tokens:
                return Composed(tokens, prompt, len(speech.messages) - len(history))
            # The counts left out what the format adds between messages; it was more than was set aside for it.
            history = without_oldest_turn(history)
            if not history:
                raise too_long(self._context_tokens)

    def next_beginning(self, speech: Speech) -> list[int]:
        """Return the tokens with which the prompt begins when the person says something more.

        Raises:
            PromptTooLongError, PromptFormatError: as `compose`.
        """
        first, second = (
            self.compose(replace(speech, messages=(*speech.messages, Message(Role.USER, text)), state=state)).tokens
            for text, state in _PROBES
        )
        return first[: common_prefix(first, second)]

    def _tokens_of(self, text: str) -> int:
        # What cannot fit is not tokenised first.
        at_least = len(text.encode("utf-8")) // self._vocabulary.longest_piece
        return at_least if at_least > self._context_tokens else len(self._vocabulary.tokens(text, control=False))
