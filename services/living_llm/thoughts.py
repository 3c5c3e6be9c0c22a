"""Keeps what a reasoning model thinks aloud out of what it says. Pure."""

from __future__ import annotations

OPEN, CLOSE = "<think>", "</think>"
"""What stands around thoughts in the text of the models that think in it: Qwen3, DeepSeek-R1 and what was distilled from them. Servers that
take thoughts out themselves send them in a field of their own, which is not read."""


class ThoughtFilter:
    """Passes a reply's text on without the thoughts at its beginning, as if it had seen the whole text at once.

    Only what a reply begins with is taken for thoughts: behind the first word the two marks are words like any other. White space after
    thoughts goes with them. Thoughts that do not end leave nothing to say.

    Args:
        thinking: the prompt has already opened the thoughts.
    """

    def __init__(self, *, thinking: bool = False) -> None:
        self._inside = thinking
        self._cut = thinking
        self._speaking = False
        self._held = ""

    def feed(self, text: str) -> str:
        """Take more text and return what is said of it, which may be nothing."""
        if self._speaking:
            return text
        self._held += text
        while self._inside or self._begins():
            if not self._skip():
                return ""
        if OPEN.startswith(self._held.lstrip()):
            return ""
        self._speaking = True
        return self.finish()

    def finish(self) -> str:
        """Return what was held back, now that nothing follows."""
        held, self._held = self._held, ""
        if self._inside:
            return ""
        return held.lstrip() if self._cut else held

    def _begins(self) -> bool:
        if not self._held.lstrip().startswith(OPEN):
            return False
        self._held = self._held.lstrip().removeprefix(OPEN)
        self._inside = self._cut = True
        return True

    def _skip(self) -> bool:
        """Leave the thoughts, if their end has come; of those that go on keep only what may be the beginning of it."""
        _, closed, after = self._held.partition(CLOSE)
        self._held = after if closed else self._held[1 - len(CLOSE) :]
        self._inside = not closed
        return bool(closed)
