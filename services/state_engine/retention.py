"""Deletes sessions that nobody has used for long, if the operator wants that."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from limbic.runtime.clock import NS_PER_S, Clock
from limbic.runtime.errors import LimbicError
from limbic.runtime.logs import get_logger
from services.state_engine import metrics
from services.state_engine.journal.port import Journal

_log = get_logger(__name__)

BETWEEN_SWEEPS_S: float = 600.0
_SESSIONS_AT_ONCE: Final = 100
_DAY_NS: Final = 86_400 * NS_PER_S

_LARGEST_JUMP_NS: Final = 3_600 * NS_PER_S
"""By more than this the wall clock does not drift from the monotonic one: it was set, rightly or wrongly."""


class Retention:
    """See above. A session is used when something is recorded of it; to read it does not count.

    Args:
        journal: where the sessions are.
        deleted: called with the id of each session that was deleted.
        clock: the present.
        days: how long a session is kept.
    """

    def __init__(self, journal: Journal, deleted: Callable[[str], None], clock: Clock, days: float) -> None:
        self._journal = journal
        self._deleted = deleted
        self._clock = clock
        self._kept_ns = round(days * _DAY_NS)
        self._started_ns = self._offset_ns()

    async def run(self) -> None:
        """Sweep again and again, until cancelled."""
        while True:
            try:
                await self.sweep()
            except LimbicError as error:
                _log.warning("sessions were not looked through for old ones", reason=error.reason)
            await asyncio.sleep(BETWEEN_SWEEPS_S)

    async def sweep(self) -> int:
        """Delete what is due and return how many sessions that were.

        Nothing is due while the wall clock stands elsewhere than it should by the monotonic one since the start: a wrong clock must not
        delete what a right one would keep. A restart takes the wall clock as it is then.

        Raises:
            JournalBusyError, JournalUnavailableError: the journal could not be read or written; the rest is for the next sweep.
        """
        if abs(self._offset_ns() - self._started_ns) > _LARGEST_JUMP_NS:
            _log.warning("the clock was set since the start: no session is deleted for its age until a restart")
            return 0
        before_ns = self._clock.now_ns() - self._kept_ns
        swept = 0
        while True:
            due = await self._journal.untouched_since(before_ns, _SESSIONS_AT_ONCE)
            gone = sum([await self._delete(session_id, before_ns) for session_id in due])
            swept += gone
            # Those that were used in between stay, and must not be found again and again.
            if gone == 0:
                break
        if swept:
            _log.info("sessions deleted for their age", sessions=swept)
        return swept

    async def _delete(self, session_id: str, before_ns: int) -> bool:
        def settled(facts: int | None) -> None:
            if facts:
                self._deleted(session_id)

        # Whoever has used it in between keeps it: the journal looks again in the transaction that deletes.
        deleted = await self._journal.delete(session_id, settled, before_ns)
        if deleted:
            metrics.EXPIRED.inc()
        return deleted > 0

    def _offset_ns(self) -> int:
        return self._clock.now_ns() - round(self._clock.monotonic() * NS_PER_S)
