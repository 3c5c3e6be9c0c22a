"""Keeps snapshots of long sessions, so that one that is not in memory is read from there and need not be folded from its whole log.

A snapshot is made when a session has grown by a share of itself since the last one, so that all of them together cost a session a constant
part of what its facts cost. Its bytes are made in a thread, and the journal's writer takes them when it comes to them; nobody waits.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from limbic.runtime.errors import LimbicError
from limbic.runtime.logs import get_logger
from services.state_engine import metrics
from services.state_engine.journal.facts import Snapshot, Stored
from services.state_engine.journal.port import Journal
from services.state_engine.library import TemperamentLibrary
from services.state_engine.picture import Picture
from services.state_engine.session import Session
from services.state_engine.snapshot_format import SnapshotRefusedError, decode, encode
from services.state_engine.temperament import Temperament

_log = get_logger(__name__)

EVERY: Final = 1_000
"""Facts after which a snapshot is worth its while: to read and fold so many takes 25 to 30 ms."""

_SHARE: Final = 16
"""A session's length over the facts that are read after its snapshot, at most."""


class Snapshots:
    """See above. Used on the event loop, except for `rebuilt`.

    Args:
        journal: where they are kept.
        is_current: whether a session is the one in memory. Whoever deletes one takes it from there before another of its id can begin, so
            that what is given to the journal for a current one reaches no other.
        every: facts after which one is made.
    """

    def __init__(self, journal: Journal, is_current: Callable[[Session], bool], every: int = EVERY) -> None:
        self._journal = journal
        self._is_current = is_current
        self._every = every
        self._making: dict[Session, asyncio.Task[None]] = {}

    def consider(self, session: Session) -> None:
        """Make a snapshot of a session if it has grown by so much since the last one."""
        if session.revision - session.kept < max(self._every, session.revision // _SHARE) or session in self._making:
            return
        # Also where it fails: the next try is for when there is more to be gained.
        session.kept = session.revision
        self._making[session] = asyncio.create_task(self._make(session), name="snapshot")

    async def stop(self) -> None:
        """Wait for those that are being made, which takes as long as a call or two."""
        await asyncio.gather(*self._making.values())

    async def _make(self, session: Session) -> None:
        try:
            picture = session.picture()
            content = await asyncio.to_thread(encode, picture, session.fact, session.temperament)
            if self._is_current(session):
                snapshot = Snapshot(picture.revision, content)
                kept = await self._journal.keep(session.fact.session_id, snapshot, session.key)
                metrics.SNAPSHOTS.labels("kept" if kept else "gone").inc()
        except LimbicError as error:
            metrics.SNAPSHOTS.labels("failed").inc()
            _log.warning("no snapshot was kept", reason=error.reason)
        except Exception as error:  # noqa: BLE001
            # A fault of ours must not end a session that can do without.
            metrics.SNAPSHOTS.labels("failed").inc()
            _log.error("no snapshot was made", error=type(error).__name__, exc_info=error)
        finally:
            del self._making[session]


def rebuilt(stored: Stored, temperaments: TemperamentLibrary) -> Session:
    """Rebuild a session from its snapshot and what came after it, or from its whole log. Runs in the journal's thread.

    Raises:
        TemperamentError: the temperament that it began with cannot be used any more.
    """
    opening = stored.session
    temperament = temperaments.recorded(opening.temperament, opening.temperament_digest, opening.temperament_text)
    picture = _picture(stored, temperament)
    if picture is None:
        # The text that thousands of sessions share is held once.
        session = Session(replace(opening, temperament_text=temperament.text), temperament)
        session.key = stored.key
    else:
        session = Session.pictured(opening, temperament, stored.key, picture)
    for sequence, fact in stored.after(session.revision):
        session.apply([fact], sequence)
    session.fold()
    return session


def _picture(stored: Stored, temperament: Temperament) -> Picture | None:
    if stored.snapshot is None:
        return None
    try:
        picture = decode(stored.snapshot.content, stored.snapshot.revision, stored.session, temperament)
    except SnapshotRefusedError as error:
        metrics.SNAPSHOTS.labels(error.reason).inc()
        _log.warning("a snapshot is not used, the session is folded from its log", reason=error.reason)
        return None
    metrics.SNAPSHOTS.labels("used").inc()
    return picture
