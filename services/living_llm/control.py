"""Keeps people from spelling control tokens: a message that holds `<|im_end|>` must not end there. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable


class ControlSpellings:
    """The spellings that a tokenizer would take for control tokens.

    Args:
        spellings: as in the vocabulary. Single characters are left alone: they are letters that a vocabulary marks oddly.
    """

    def __init__(self, spellings: Iterable[str]) -> None:
        longest_first = sorted({one for one in spellings if len(one) > 1}, key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, longest_first)) or r"(?!)")

    def removed(self, text: str) -> str:
        """Return the text without them. A sign put into them instead could complete another one."""
        # Again and again: what stood around one may be one together.
        while self._pattern.search(text):
            text = self._pattern.sub("", text)
        return text
