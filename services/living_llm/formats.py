"""How a prompt is written for an embedded model: as a transcript that it continues, or by the chat template in its metadata.

A transcript suits base models and very small ones. SmolLM2-135M answers its own chat template with letters and speeches; as the
next line of a chat between two friends, after a few short examples and ended at the line's end, it says short and natural things.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NoReturn, Protocol

from jinja2 import TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from services.living_llm.prompt import ChatMessage, chat_messages, system_text
from services.living_llm.speech import Message, Role, Speech
from services.living_llm.templates import STOPS, TEMPLATES
from services.living_llm.vocabulary import Vocabulary


class PromptFormatError(Exception):
    """A prompt format cannot be used with this model."""


@dataclass(frozen=True, slots=True)
class WrittenPrompt:
    """A prompt as the model reads it.

    Attributes:
        text: all of it.
        control: whether control tokens are spelt out in the text.
        stops: where a reply in this format ends, besides the model's own end.
    """

    text: str
    control: bool
    stops: tuple[str, ...]


class PromptFormat(Protocol):
    """Writes prompts.

    Attributes:
        unsaid: a sign with which no word of a reply may begin, because in this format it would begin something else; may be empty.
    """

    unsaid: str

    def preamble(self, persona: str) -> str:
        """Return what stands in front of the history, for counting."""
        ...

    def write(self, speech: Speech, history: Sequence[Message]) -> WrittenPrompt:
        """Write the prompt for a reply to the last message of the history."""
        ...


class Transcript:
    """A chat between the character and a friend, one line a message.

    The state block is a stage direction in round brackets on a line of its own, and the examples show what such a line does. It stands
    before the friend's last line and not after it: a small model answers whatever line is next to its own. The prefix cache loses nothing,
    because that last line is new in any case. Nobody else can write such a line: each message is brought onto one line that begins with
    its speaker's name.
    """

    FRIEND = "Friend"

    # A small model that has read stage directions writes one itself now and then, and says nothing else.
    unsaid = "("

    # Who the character is. A persona that does not say it in these words gets the fallback.
    _NAME = re.compile(r"\b(?:You are|You're|Your name is|I am|My name is) ([^\W\d_][\w'’-]*)")
    _FALLBACK = "Me"
    _ARTICLES = frozenset({"a", "an", "the"})

    _EXAMPLE = (
        ("", "Hey! How was your day?", "Pretty good! I baked bread and burned my thumb. How was yours?"),
        (
            "Be warm and close.",
            "Long. My boss moved the deadline again.",
            "Ugh, that sounds awful. Come here. Do you want to talk about it?",
        ),
        ("Be tired and slow.", "What are you reading?", "Something about whales. I keep falling asleep over it."),
        ("Be warm; calm.", "I had a fight with my mom.", "Oh no, I'm sorry. I'm here. What happened?"),
        ("Be tense and short.", "Can I borrow your bike?", "Fine. Just bring it back."),
        ("Be lively; curious.", "I passed my exam!", "Yes! I knew it! How are we going to celebrate?"),
    )

    def preamble(self, persona: str) -> str:
        """Return the persona, the scene and the example."""
        name = self.name(persona)
        lines = [persona, ""] if persona else []
        lines += [
            f"This is a chat between two good friends, {self.FRIEND} and {name}. They write short, plain messages.",
            "",
        ]
        for direction, said, reply in self._EXAMPLE:
            lines += [f"({direction})"] if direction else []
            lines += [f"{self.FRIEND}: {said}", f"{name}: {reply}"]
        return "\n".join(lines) + "\n"

    def write(self, speech: Speech, history: Sequence[Message]) -> WrittenPrompt:
        """Write the transcript up to the point where the character speaks."""
        name = self.name(speech.persona)
        speakers = {Role.USER: self.FRIEND, Role.ASSISTANT: name}
        lines = [f"{speakers[message.role]}: {' '.join(message.text.split())}" for message in history]
        if speech.state:
            lines.insert(-1, f"({speech.state})")
        text = "\n".join([self.preamble(speech.persona) + lines[0], *lines[1:], f"{name}:"])
        return WrittenPrompt(text, control=False, stops=("\n", f"{self.FRIEND}:"))

    def name(self, persona: str) -> str:
        """Return the character's name."""
        for match in self._NAME.finditer(persona):
            if match[1][0].isupper() and match[1].lower() not in self._ARTICLES:
                return match[1]
        return self._FALLBACK


class ChatTemplate:
    """A Jinja template, in most cases the one that the model brings along, rendered in a sandbox.

    Args:
        source: the template.
        vocabulary: the model's, to keep control tokens out of what people say.
        stops: where a reply ends, besides the model's own end.

    Raises:
        PromptFormatError: the template cannot be rendered at all.
    """

    unsaid = ""

    def __init__(self, source: str, vocabulary: Vocabulary, stops: tuple[str, ...] = ()) -> None:
        self._vocabulary = vocabulary
        self._stops = stops
        environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
        environment.globals.update(raise_exception=_raise, strftime_now=_strftime_now)
        try:
            self._template = environment.from_string(source)
        except TemplateError as error:
            raise PromptFormatError(f"the model's chat template is no valid template: {error}") from None
        self._has_system_role = self._keeps_system_message()

    def preamble(self, persona: str) -> str:
        """Return the system message's text."""
        return system_text(persona)

    def write(self, speech: Speech, history: Sequence[Message]) -> WrittenPrompt:
        """Render the template over the conversation."""
        messages = [
            ChatMessage(message.role, self._vocabulary.harmless(message.content))
            for message in chat_messages(speech, history)
        ]
        try:
            return WrittenPrompt(self._render(messages, self._has_system_role), control=True, stops=self._stops)
        except TemplateError as error:
            raise PromptFormatError(
                f"the model's chat template refused the conversation: {type(error).__name__}"
            ) from None

    def _render(self, messages: list[ChatMessage], has_system_role: bool) -> str:
        if not has_system_role:
            system, first, *rest = messages
            messages = [ChatMessage(first.role, f"{system.content}\n\n{first.content}"), *rest]
        return self._template.render(
            messages=[{"role": message.role, "content": message.content} for message in messages],
            add_generation_prompt=True,
            bos_token=self._vocabulary.bos_text,
            eos_token=self._vocabulary.eos_text,
            # A reasoning model would think aloud before each reply; a conversation cannot wait for that.
            enable_thinking=False,
        )

    def _keeps_system_message(self) -> bool:
        # Some templates refuse a system message, some drop it without a word.
        probe = [ChatMessage("system", "persona-probe"), ChatMessage("user", "hello")]
        try:
            return "persona-probe" in self._render(probe, True)
        except TemplateError:
            pass
        try:
            self._render(probe, False)
        except TemplateError as error:
            raise PromptFormatError(f"the model's chat template cannot be rendered: {error}") from None
        return False


def choose_format(wanted: str, template: str | None, vocabulary: Vocabulary) -> PromptFormat:
    """Return the prompt format for a model.

    Args:
        wanted: `transcript`, `chat-template`, the name of a template that is shipped, or `auto` for the model's own where it has one.
        template: the model's own chat template.
        vocabulary: the model's.

    Raises:
        PromptFormatError: the model has no template, or one that cannot be rendered.
    """
    if wanted == "transcript" or (wanted == "auto" and template is None):
        return Transcript()
    if wanted in TEMPLATES:
        return ChatTemplate(TEMPLATES[wanted], vocabulary, STOPS[wanted])
    if template is None:
        named = ", ".join(TEMPLATES)
        raise PromptFormatError(
            f"the model has no chat template; set llm.prompt_format to transcript, or to the one it was trained on: {named}"
        )
    return ChatTemplate(template, vocabulary)


def _raise(message: str) -> NoReturn:
    raise TemplateError(message)


def _strftime_now(pattern: str) -> str:
    # What Hugging Face's own renderer offers; a few templates write today's date into the system message.
    return datetime.datetime.now().strftime(pattern)
