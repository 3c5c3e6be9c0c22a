"""From a model's tokens to what it says: whole characters, nothing that it thinks, no white space in front, an end at the first stop."""

from __future__ import annotations

import codecs
from collections.abc import Sequence

from services.living_llm.stops import StopMatcher
from services.living_llm.thoughts import ThoughtFilter


class ReplyText:
    """Turns the bytes of tokens into text that can be sent. A token is often no whole character.

    Args:
        stops: the reply ends where one of these would begin.
        thinking: the prompt ends inside the model's thoughts.
    """

    def __init__(self, stops: Sequence[str], *, thinking: bool = False) -> None:
        # Bytes that can never become a character are shown as U+FFFD; a character that is only cut off is left out.
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        # A stop inside thoughts ends nothing.
        self._thoughts = ThoughtFilter(thinking=thinking)
        self._matcher = StopMatcher(stops)
        self._begun = False

    @property
    def stopped(self) -> bool:
        """Whether a stop was found."""
        return self._matcher.stopped

    def feed(self, piece: bytes) -> str:
        """Take the bytes of a token and return what can be sent."""
        return self._trimmed(self._matcher.feed(self._thoughts.feed(self._decoder.decode(piece))))

    def finish(self) -> str:
        """Return the rest, now that no token follows."""
        return self._trimmed(self._matcher.feed(self._thoughts.finish()) + self._matcher.finish())

    def _trimmed(self, text: str) -> str:
        if not self._begun:
            text = text.lstrip()
            self._begun = bool(text)
        return text
