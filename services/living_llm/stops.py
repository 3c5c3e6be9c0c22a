"""Finds where a reply has to end, in text that comes in pieces cut anywhere."""

from __future__ import annotations

from collections.abc import Sequence


class StopMatcher:
    """Passes text on until one of the stops begins, as if it had searched the whole text at once.

    What may be the beginning of a stop is held back until it is one or is not.

    Args:
        stops: texts before which the reply ends; none may be empty.

    Attributes:
        stopped: a stop was found; nothing follows any more.
    """

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = tuple(stops)
        self._longest = max(map(len, self._stops), default=0)
        self._held = ""
        self.stopped = False

    def feed(self, text: str) -> str:
        """Take more text and return what can be passed on, which may be nothing."""
        if self.stopped:
            return ""
        text = self._held + text
        found, maybe = self._first_stop(text), self._first_beginning(text)
        if found <= maybe:
            self._held, self.stopped = "", True
            return text[:found]
        # A stop may be complete behind `maybe` already; the one that begins first counts.
        self._held = text[maybe:]
        return text[:maybe]

    def finish(self) -> str:
        """Return what was held back, now that nothing follows."""
        held, self._held = self._held, ""
        found = self._first_stop(held)
        self.stopped = self.stopped or found < len(held)
        return held[:found]

    def _first_stop(self, text: str) -> int:
        return min((at for stop in self._stops if (at := text.find(stop)) >= 0), default=len(text) + 1)

    def _first_beginning(self, text: str) -> int:
        for at in range(max(0, len(text) - self._longest + 1), len(text)):
            tail = text[at:]
            if any(len(tail) < len(stop) and stop.startswith(tail) for stop in self._stops):
                return at
        return len(text)
