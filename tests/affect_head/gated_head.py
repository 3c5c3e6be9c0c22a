"""A head whose readings start and end when a test says so."""

from __future__ import annotations

import asyncio
import threading

from limbic.runtime.llama import AbortFlag
from services.affect_head.head import Axes, Emotion, HeadCard, HeadIdentity, Reading, ReadingAbortedError, Utterance
from services.affect_head.window import ContextRule

RULE = ContextRule(turns=1, text_tokens=8, turn_tokens=24)

_POLL_S = 0.002
"""How often a held reading looks at its abort flag, as a computation does between two nodes."""


class GatedHead:
    """Implements `Head`. Open at first; after `hold` every reading waits for a `let_one_go`.

    Attributes:
        started: texts of the readings that were begun, in their order.
        aborted: texts of those that were stopped.
        finished: texts of those that came to their end.
    """

    def __init__(self) -> None:
        self.card = HeadCard(HeadIdentity("gated", "F32", "none"), "0" * 64, ("joy",), (0.5,), RULE, 512, "{}")
        self.started: list[str] = []
        self.aborted: list[str] = []
        self.finished: list[str] = []
        self.closed = 0
        self._passes = threading.Semaphore(0)
        self._held = False
        self._changed = threading.Condition()

    def open_reader(self) -> GatedHead:
        return self

    def close(self) -> None:
        self.closed += 1

    def hold(self) -> None:
        """Make every reading wait from now on."""
        self._held = True
        self.started.clear()
        self.finished.clear()

    def let_one_go(self) -> None:
        """Let one reading come to its end."""
        self._passes.release()

    def let_all_go(self) -> None:
        """Let every reading come to its end, the coming ones too."""
        self._held = False
        self._passes.release(1_000)

    def read(self, utterance: Utterance, abort: AbortFlag) -> Reading:
        self._note(self.started, utterance.text)
        while self._held and not self._passes.acquire(timeout=_POLL_S):
            if abort.is_set():
                self._note(self.aborted, utterance.text)
                raise ReadingAbortedError
        self._note(self.finished, utterance.text)
        weight = len(utterance.text) / 100
        return Reading(
            axes=Axes(weight, -weight, 0.0),
            uncertainty=Axes(0.1, 0.2, 0.3),
            confidence=0.5,
            emotions=(Emotion("joy", 0.75, True),),
            truncated=False,
            blank=not utterance.text.strip(),
            context_turns=len(utterance.context),
            latency_s=0.004,
        )

    async def until(self, texts: list[str], count: int) -> None:
        """Wait until so many texts stand in one of the lists."""

        def wait() -> bool:
            with self._changed:
                return self._changed.wait_for(lambda: len(texts) >= count, timeout=10)

        assert await asyncio.to_thread(wait), f"waited for {count} texts and have {texts}"

    def _note(self, texts: list[str], text: str) -> None:
        with self._changed:
            texts.append(text)
            self._changed.notify_all()
