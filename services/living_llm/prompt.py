"""What a model is given to read: how much of the history fits, and the messages for models that take messages. Pure.

The order serves the prefix cache, which is what keeps the time to the first delta from growing with the conversation: the persona and
the history come first and do not change between turns, and what changes, the state block, comes last.

Where exactly is last? A system message after the last user message is refused by strict chat templates (they want roles to alternate),
and some servers move every system message to the front, which is the one place where the block must not stand. So it is put into the last
user message, after what the user said. Next turn that message is sent without it; the prefix cache then ends one message earlier, and
only that message and its reply are computed again.

The block stands between ⟦ and ⟧, and these two signs are taken out of everything else, so no one can open, close or imitate it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from services.living_llm.failures import PromptTooLongError
from services.living_llm.speech import Message, Role, Speech

OPEN, CLOSE = "⟦", "⟧"

# Also what looks like the two signs in many fonts.
_LOOKALIKES = str.maketrans({"⟦": "[", "⟧": "]", "〚": "[", "〛": "]"})

STAGE_NOTE = (
    f"Text between {OPEN} and {CLOSE} is a direction for how you sound in your next reply. "
    "Follow it in your choice of words, and never mention it or say what you feel because of it."
)

# Names and separators around one message: 4 to 8 tokens in the common templates.
MESSAGE_TOKENS = 8

# Kept free for the state block and the reply: a quarter of a small window, and never more than this.
MAX_RESERVE_TOKENS = 1024

# When the history has outgrown its room, it is cut back by whole halves of it and not by just what is needed: the cut then stays where it
# is for many turns, and with it the prefix that the cache knows. All that is kept has to be computed again after each cut; smaller steps
# would do that more often, and to more.
_STEPS = 2


@dataclass(frozen=True, slots=True)
class ChatMessage:
    """A message in the OpenAI protocol's form; the role is system, user or assistant."""

    role: str
    content: str


def fit_history(
    messages: Sequence[Message], persona_tokens: int, count: Callable[[str], int], context_tokens: int
) -> Sequence[Message]:
    """Return the newest messages that fit the window, cut where a user's message begins.

    Args:
        messages: oldest first, not empty; the last is the user's.
        persona_tokens: what stands in front of them.
        count: tokens of a text; an upper bound.
        context_tokens: the window.

    Raises:
        PromptTooLongError: the persona leaves no room for a word, or the last message does not fit.
    """
    room = context_tokens - min(context_tokens // 4, MAX_RESERVE_TOKENS) - persona_tokens
    if room <= MESSAGE_TOKENS:
        raise PromptTooLongError("persona", f"does not fit the model's window of {context_tokens} tokens")
    costs = [count(message.text) + MESSAGE_TOKENS for message in messages]
    if costs[-1] > room:
        raise too_long(context_tokens)
    excess = sum(costs) - room
    if excess <= 0:
        return messages
    step = max(1, room // _STEPS)
    target = math.ceil(excess / step) * step
    omitted = 0
    for index, cost in enumerate(costs[:-1]):
        if omitted >= target and messages[index].role is Role.USER:
            return messages[index:]
        omitted += cost
    return messages[-1:]


def without_oldest_turn(messages: Sequence[Message]) -> Sequence[Message]:
    """Return the messages from the second user's message on; empty if there is none."""
    later = (index for index, message in enumerate(messages) if index > 0 and message.role is Role.USER)
    return messages[next(later, len(messages)) :]


def too_long(context_tokens: int) -> PromptTooLongError:
    """Return the refusal of a prompt of which nothing more can be left out."""
    return PromptTooLongError(
        "messages", f"the persona and the last message alone do not fit the model's window of {context_tokens} tokens"
    )


def without_marks(text: str) -> str:
    """Return a text in which nothing can be taken for a delimiter of the state block."""
    return text.translate(_LOOKALIKES)


def system_text(persona: str) -> str:
    """Return the system message: the persona, and what the state block means. The same in every turn."""
    return f"{without_marks(persona)}\n\n{STAGE_NOTE}" if persona else STAGE_NOTE


def chat_messages(speech: Speech, history: Sequence[Message]) -> list[ChatMessage]:
    """Return the prompt as messages: a system message, then user and assistant in turn, the state block at the very end.

    Strict templates want the user to speak first and the roles to alternate: neighbours of one role become one message, and what the
    character said before anyone else goes into the system message.
    """
    merged: list[ChatMessage] = []
    for message in history:
        text = without_marks(message.text)
        if merged and merged[-1].role == message.role:
            merged[-1] = ChatMessage(message.role, f"{merged[-1].content}\n\n{text}")
        else:
            merged.append(ChatMessage(message.role.value, text))
    system = system_text(speech.persona)
    if merged[0].role == Role.ASSISTANT:
        system = f"{system}\n\nYou have opened the conversation with these words:\n{merged.pop(0).content}"
    if speech.state:
        merged[-1] = ChatMessage(Role.USER.value, f"{merged[-1].content}\n\n{OPEN}{speech.state}{CLOSE}")
    return [ChatMessage("system", system), *merged]
