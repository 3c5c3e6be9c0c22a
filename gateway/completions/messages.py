"""Reads the messages of a chat completion: who says what, and what is said about it. Pure.

What counts as the conversation are the words of user and assistant. Everything else (system and developer messages, wherever they stand:
the character's description, world info, author's notes, example dialogues, instructions after the history) tells the model how to play.
It goes into the persona, in its order, and changes no turn's id, because front ends change it from one request to the next.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from gateway.content import Said
from limbic.runtime.errors import InvalidArgumentError
from limbic.state.v1 import state_pb2

MAX_MESSAGES = 4_095
MAX_CHARS = 65_536
"""Of one message, and of all notes together: what the living LLM takes."""

_ROLES = {"user": state_pb2.ROLE_USER, "assistant": state_pb2.ROLE_ASSISTANT}
_NOTES = ("system", "developer")
_EXAMPLES = "example_"
"""SillyTavern sends example dialogues as system messages of the names example_user and example_assistant."""


class UnsupportedError(InvalidArgumentError):
    """Something was asked for that cannot be done here; to ignore it would be to answer another question."""

    reason = "UNSUPPORTED"


@dataclass(frozen=True, slots=True)
class Script:
    """The messages, sorted.

    Attributes:
        dialogue: what user and assistant said, oldest first; empty messages left out.
        notes: what is said about it, up to the dialogue's last message.
        after: notes that stand behind the dialogue.
    """

    dialogue: tuple[Said, ...] = field(repr=False)
    notes: tuple[str, ...] = field(repr=False)
    after: tuple[str, ...] = field(repr=False)


def script_of(messages: Any) -> Script:
    """Sort a request's messages.

    Raises:
        InvalidArgumentError: one of them cannot be used.
        UnsupportedError: one of them holds something else than words.
    """
    if not isinstance(messages, list) or not messages:
        raise InvalidArgumentError("messages", "must be a list of at least one message")
    if len(messages) > MAX_MESSAGES:
        raise InvalidArgumentError("messages", f"must hold at most {MAX_MESSAGES:,}; there are {len(messages):,}")
    dialogue: list[Said] = []
    notes: list[str] = []
    after: list[str] = []
    for index, message in enumerate(messages):
        path = f"messages[{index}]"
        if not isinstance(message, Mapping):
            raise InvalidArgumentError(path, "must be an object with role and content")
        role, text = message.get("role"), _text_of(path, message)
        if not isinstance(role, str):
            raise InvalidArgumentError(f"{path}.role", "must be system, developer, user or assistant")
        if role in _NOTES:
            if text.strip():
                after.append(_note(message, text))
        elif role in _ROLES:
            if message.get("tool_calls") or message.get("function_call"):
                raise UnsupportedError(f"{path}.tool_calls", "cannot be taken: the character does not support tools")
            if text.strip():
                dialogue.append(Said(_ROLES[role], text))
                notes += after
                after = []
        elif role in ("tool", "function"):
            raise UnsupportedError(f"{path}.role", "tool results cannot be taken: the character does not support tools")
        else:
            raise InvalidArgumentError(f"{path}.role", "must be system, developer, user or assistant")
    if sum(map(len, (*notes, *after))) > MAX_CHARS:
        raise InvalidArgumentError("messages", f"system messages must have at most {MAX_CHARS:,} characters together")
    if not dialogue and not after:
        raise InvalidArgumentError("messages", "at least one of them must hold words")
    return Script(tuple(dialogue), tuple(notes), tuple(after))


def _text_of(path: str, message: Mapping[str, Any]) -> str:
    content = message.get("content")
    if content is None:
        return ""
    if isinstance(content, str):
        text = content
    elif isinstance(content, list):
        text = "".join(_part(f"{path}.content[{index}]", part) for index, part in enumerate(content))
    else:
        raise InvalidArgumentError(f"{path}.content", "must be a string or a list of parts")
    if len(text) > MAX_CHARS:
        raise InvalidArgumentError(
            f"{path}.content", f"must have at most {MAX_CHARS:,} characters; it has {len(text):,}"
        )
    return checked_text(f"{path}.content", text)


def _part(path: str, part: Any) -> str:
    kind = part.get("type") if isinstance(part, Mapping) else None
    if kind == "text" and isinstance(text := part.get("text"), str):
        return text
    if kind in ("image_url", "input_audio", "file", "video_url"):
        raise UnsupportedError(f"{path}.type", "only text can be taken; describe images, sounds and files in words")
    raise InvalidArgumentError(path, 'must be an object of the form {"type": "text", "text": "…"}')


def checked_text(field_name: str, text: str) -> str:
    """Refuse what is no text: NUL characters, and halves of characters, which JSON can write."""
    if "\x00" in text:
        raise InvalidArgumentError(field_name, "must not contain NUL characters")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise InvalidArgumentError(field_name, "must not contain halves of surrogate pairs") from None
    return text


def _note(message: Mapping[str, Any], text: str) -> str:
    name = message.get("name")
    return f"{name}: {text}" if isinstance(name, str) and name.startswith(_EXAMPLES) else text


def joined(notes: Sequence[str]) -> str:
    """Return notes as one text."""
    return "\n\n".join(note.strip() for note in notes)
