"""Brings sessions in memory up to what other engines have recorded in the same journal.

An engine may answer from memory only what the journal holds at that moment. So each look at a session asks first where its log ends, and
reads what is missing. What other engines write is also told without being asked, for those who watch a session.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from itertools import islice
from typing import Final

from limbic.runtime.errors import LimbicError
from limbic.runtime.logs import get_logger
from services.state_engine import metrics
from services.state_engine.errors import SessionNotFoundError
from services.state_engine.journal.facts import Head, NumberedFact
from services.state_engine.journal.port import Others
from services.state_engine.session import Session
from services.state_engine.snapshots import Snapshots
from services.state_engine.watches import Watches

_log = get_logger(__name__)

_FACTS_AT_ONCE: Final = 200
"""Facts that are taken in without a pause for other callers: about a millisecond."""


_READS: Final = 2
"""One that somebody else began before we asked where the log ends may miss its last facts; the next one cannot."""


class CatchingUp:
    """See above. Used on the event loop only.

    Args:
        others: what other engines write.
        watches: who is told of what was recorded.
        snapshots: what is kept of sessions that have grown.
    """

    def __init__(self, others: Others, watches: Watches, snapshots: Snapshots) -> None:
        self._others = others
        self._watches = watches
        self._snapshots = snapshots
        self._reading: dict[Session, asyncio.Task[bool]] = {}
        self._looking: set[asyncio.Task[None]] = set()

    async def __call__(self, session: Session) -> bool:
        """Have a session take in what it lacks; False if it is not in the journal any more, or cannot take it in.

        Raises:
            JournalUnavailableError: the journal cannot be read.
        """
        head = await self._others.head(session.fact.session_id)
        if head is None or head.key != session.key:
            return False
        for _ in range(_READS):
            if session.revision >= head.revision:
                return True
            reading = self._reading.get(session)
            if reading is None:
                reading = self._reading[session] = asyncio.create_task(self._read(session))
            # Others may wait for it too, so it outlives a caller that goes away.
            if not await asyncio.shield(reading):
                return False
        return session.revision >= head.revision

    def follow(self, look: Callable[[str], Awaitable[Session]]) -> None:
        """Have sessions that are watched looked at whenever another engine has written to them."""

        def told(session_id: str | None) -> None:
            for watched in self._watches.sessions if session_id is None else (session_id,):
                if watched in self._watches:
                    task = asyncio.create_task(self._look(look, watched))
                    self._looking.add(task)
                    task.add_done_callback(self._looking.discard)

        self._others.follow(told)

    async def _look(self, look: Callable[[str], Awaitable[Session]], session_id: str) -> None:
        try:
            await look(session_id)
        except SessionNotFoundError:
            self._watches.tell(session_id, "")
        except LimbicError as error:
            # Whoever watches will ask again, and be told why there is no answer.
            _log.warning("a watched session was not read", reason=error.reason)

    async def _read(self, session: Session) -> bool:
        try:
            seen = Head(session.key or 0, session.revision)
            found = await self._others.since(session.fact.session_id, seen)
            if found is None:
                return False
            facts = iter(found)
            while some := list(islice(facts, _FACTS_AT_ONCE)):
                self._take_in(session, some)
                await asyncio.sleep(0)
        except LimbicError:
            raise
        except Exception as error:  # noqa: BLE001
            # A fault of ours: whoever waits here gets a session that is rebuilt from the journal.
            _log.error("facts of another engine not applied", error=type(error).__name__, exc_info=error)
            return False
        finally:
            del self._reading[session]
        return True

    def _take_in(self, session: Session, facts: Sequence[NumberedFact]) -> None:
        # Our own may have come in between.
        new = [fact for sequence, fact in facts if sequence > session.revision]
        if new:
            session.apply(new, facts[-1].sequence)
            metrics.FOREIGN_FACTS.inc(len(new))
            self._snapshots.consider(session)
            self._watches.tell(session.fact.session_id, session.place_of(new[-1]))
