"""Where a reading goes besides its turn: to the head once more for its reason, to the telemetry, to the feeds."""

from __future__ import annotations

from dataclasses import replace

from gateway.feeds import Feeds
from gateway.feeds_reasons import Explain, Reasons
from gateway.ports import ReadingSeen
from gateway.telemetry import Telemetry
from limbic.affect.v1 import affect_pb2
from limbic.runtime.logs import shown_id


class Readings:
    """Takes each reading further. Nothing here is waited for by a turn.

    Args:
        telemetry: shows the latest, and decides whether words are shown.
        feeds: keeps all; None where they are switched off.
        explain: asks the head for a reason; None where nobody wants one.
    """

    def __init__(self, telemetry: Telemetry, feeds: Feeds | None, explain: Explain | None) -> None:
        self._telemetry = telemetry
        self._feeds = feeds
        self._reasons = Reasons(explain, self._explained) if explain is not None else None

    def start(self) -> None:
        """Begin to write."""
        if self._feeds is not None:
            self._feeds.start()

    def seen(self, seen: ReadingSeen) -> None:
        """Take a reading. Returns at once."""
        if self._reasons is not None:
            self._reasons.ask(seen)
        else:
            self._explained(seen, "")

    async def stop(self) -> None:
        """Give up reasons that have not come, and write what waits."""
        if self._reasons is not None:
            await self._reasons.stop()
        if self._feeds is not None:
            await self._feeds.stop()

    def _explained(self, seen: ReadingSeen, reason: str) -> None:
        if reason and seen.reading is not None:
            # The reading itself belongs to the turn's events, too.
            told = affect_pb2.AffectReading()
            told.CopyFrom(seen.reading)
            told.reasoning = reason
            explained = replace(seen, reading=told)
            self._telemetry.reading_explained(seen, explained)
            seen = explained
        if self._feeds is not None:
            written = self._telemetry.reading(seen)
            written.turn_id = shown_id(written.turn_id)
            self._feeds.put(written)
