"""The words that are put around a message, so that a language model's next token is a digit.

    opening · [turn_opening earlier turn turn_closing]… · text_opening message closing · one question for each axis · digit

A head that was trained names its own words in its file. For any other instruct model they are made from its chat template.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NoReturn

from jinja2 import TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment

LEVELS = ("1", "2", "3", "4", "5", "6", "7", "8", "9")
"""Nine digits from −1 to 1 in steps of a quarter; the middle one is 0."""


@dataclass(frozen=True, slots=True)
class PromptFormat:
    """The words around a message. Control tokens may be spelt out in them; in what people said they are only letters.

    Attributes:
        opening: what comes first, always the same; computed once and kept.
        questions: what asks for valence, intimacy and tension, each right before its digit.
        levels: the digits, lowest first, spread evenly over −1…1.
        turn_opening: before each earlier turn.
        turn_closing: after each earlier turn.
        text_opening: before the message.
        closing: after the message.
        reason: what asks for the reason, after the three answers; empty: the model is not asked.
    """

    opening: str
    questions: tuple[str, str, str]
    levels: tuple[str, ...] = LEVELS
    turn_opening: str = ""
    turn_closing: str = ""
    text_opening: str = ""
    closing: str = ""
    reason: str = ""


_INSTRUCTIONS = """\
How does the message below land on the one who gets it? Answer with one digit from 1 to 9 on each of three scales; 5 is neutral.
pleasant: 1 is very unpleasant, 9 is very pleasant.
close: 1 is distant and impersonal, 9 is intimate. Someone close can be hostile, and a stranger can be kind.
tense: 1 is at ease, 9 is under great pressure. Joy can be tense, and grief can be calm.

"""

_MESSAGE = "\u2063message\u2063"
"""Stands for the message while the template is rendered: no template writes invisible separators by itself."""


class TemplateUnusableError(Exception):
    """A chat template cannot be used. The text says why."""


def format_of_template(template: str, special_tokens: Mapping[str, str]) -> PromptFormat:
    """Make the words for an instruct model that was not trained as a head.

    All of it is one user message, because some templates know no system message. A model that can think aloud is asked not to.

    Args:
        template: the Jinja template from the model's file.
        special_tokens: `bos_token` and `eos_token`, as templates call them.

    Raises:
        TemplateUnusableError: it fails, or does not write the message exactly once.
    """

    def refuse(problem: str) -> NoReturn:
        raise TemplateError(problem)

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
    )
    environment.globals["raise_exception"] = refuse
    try:
        written = environment.from_string(template).render(
            messages=[{"role": "user", "content": _INSTRUCTIONS + _MESSAGE}],
            add_generation_prompt=True,
            enable_thinking=False,
            **special_tokens,
        )
    except (TemplateError, TypeError, ValueError, ArithmeticError, LookupError) as error:
        raise TemplateUnusableError(f"its chat template fails ({error})") from error
    opening, found, closing = written.partition(_MESSAGE)
    if not found or _MESSAGE in closing:
        raise TemplateUnusableError("its chat template does not write a message exactly once")
    return PromptFormat(
        opening=opening,
        turn_opening="Earlier: ",
        turn_closing="\n",
        text_opening="Message: ",
        closing=closing,
        questions=("pleasant: ", "close: ", "tense: "),
        reason="Reason:",
    )
