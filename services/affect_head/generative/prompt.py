"""A prompt as tokens: the fixed parts tokenized once, and a message fitted between them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from services.affect_head.generative.prompt_format import PromptFormat
from services.affect_head.generative.vocabulary import Vocabulary
from services.affect_head.head import AXES


class PromptUnusableError(Exception):
    """A model's vocabulary cannot write a prompt format. The text says why."""


@dataclass(frozen=True, slots=True)
class LaidOut:
    """What a message becomes.

    Attributes:
        ids: the tokens between the opening and the questions.
        truncated: the message did not fit and its beginning was left out.
        blank: nothing of the message reached the model.
        turns: earlier turns that found room, whole or in part.
    """

    ids: list[int]
    truncated: bool
    blank: bool
    turns: int


class Prompt:
    """A prompt format in one model's tokens.

    Every part is tokenized by itself, so that no token reaches across from our words into somebody's, and so that training and
    serving cut a message into the same tokens whatever stands around it.

    Args:
        words: the format.
        vocabulary: the model's.
        window: most tokens of a message with its earlier turns and what stands around them.

    Attributes:
        opening: ids that come first.
        questions: ids of each axis's question.
        levels: the id of each level's digit, lowest first.
        reason: ids of what asks for the reason; empty where there is none.
        around: tokens that stand right around a message.

    Raises:
        PromptUnusableError: a digit is not one token of its own.
    """

    def __init__(self, words: PromptFormat, vocabulary: Vocabulary, *, window: int) -> None:
        self._vocabulary = vocabulary
        opening = vocabulary.written(words.opening)
        if vocabulary.bos is not None and opening[:1] != [vocabulary.bos]:
            opening.insert(0, vocabulary.bos)
        if not opening:
            raise PromptUnusableError("its prompt has no opening")
        self.opening = tuple(opening)
        self.questions = tuple(tuple(vocabulary.written(question)) for question in words.questions)
        if not all(self.questions):
            raise PromptUnusableError("its prompt has an empty question")
        self.levels = _digit(vocabulary, words.questions[0], words.levels)
        for axis, question in zip(AXES, words.questions, strict=True):
            if _digit(vocabulary, question, words.levels) != self.levels:
                raise PromptUnusableError(f"the digits after its question for {axis} are other tokens than elsewhere")
        self._turn_opening = vocabulary.written(words.turn_opening)
        self._turn_closing = vocabulary.written(words.turn_closing)
        self._text_opening = vocabulary.written(words.text_opening)
        self._closing = vocabulary.written(words.closing)
        self.reason = tuple(vocabulary.written(words.reason)) if words.reason else ()
        self.around = len(self._text_opening) + len(self._closing)
        self._words = words
        self._window = window

    def lay_out(self, text: str, turns: Sequence[str]) -> LaidOut:
        """Fit a message and its earlier turns, oldest first, into the window.

        Where that is too long the earlier turns give way first, the oldest before the newest and each at its beginning. Only where
        the message alone is too long is it cut as well, at its beginning: what was said last is what is being answered.
        """
        said = self._vocabulary.said(text)
        room = self._window - self.around
        kept = said[-room:]
        room -= len(kept)
        context: list[int] = []
        found_room = 0
        around_turn = len(self._turn_opening) + len(self._turn_closing)
        for turn in reversed(turns):
            ids = self._vocabulary.said(turn)
            if room <= around_turn or not ids:
                continue
            ids = ids[-(room - around_turn) :]
            context[:0] = [*self._turn_opening, *ids, *self._turn_closing]
            room -= around_turn + len(ids)
            found_room += 1
        ids = [*context, *self._text_opening, *kept, *self._closing]
        return LaidOut(ids, len(kept) < len(said), not said, found_room)

    def asking_why(self, answers: Sequence[int]) -> list[int]:
        """Return the ids of all three questions with their answers (indexes of levels), and of the words that ask why."""
        written = [
            f"{question}{self._words.levels[answer]}\n"
            for question, answer in zip(self._words.questions, answers, strict=True)
        ]
        return [*self._vocabulary.written("".join(written)), *self.reason]


def _digit(vocabulary: Vocabulary, question: str, levels: Sequence[str]) -> tuple[int, ...]:
    before = vocabulary.written(question)
    ids = []
    for level in levels:
        together = vocabulary.written(question + level)
        if len(together) != len(before) + 1 or together[:-1] != before:
            raise PromptUnusableError(f"its tokenizer does not write the digit {level} after {question!r} as one token")
        ids.append(together[-1])
    return tuple(ids)
