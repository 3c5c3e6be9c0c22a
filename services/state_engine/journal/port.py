"""What the engine asks of a journal, whatever it is kept in."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence
from typing import Protocol, TypeVar

from services.state_engine.journal.facts import (
    Fact,
    Head,
    NumberedFact,
    NumberedTurn,
    Origin,
    SessionFact,
    SessionLog,
    Snapshot,
    StimulusFact,
    Stored,
    TurnFact,
)

_Built = TypeVar("_Built")

Settled = Callable[[int | None], None]
"""Called once, on the event loop, when an append or a deletion is over: with the session's revision or the number of facts that were
deleted, or None where nothing was recorded or deleted."""

Told = Callable[[str | None], None]
"""Called on the event loop with the id of a session that another engine has written to; None: any of them may have changed."""


class JournalOpenError(Exception):
    """The journal cannot be used. The text says why and what to do."""


class JournalConflictError(Exception):
    """A fact's id is taken in the journal, though the engine did not know of it. Nothing of the append was recorded."""


class Others(Protocol):
    """What other engines write to the same journal. Both calls raise `JournalUnavailableError` where it cannot be read."""

    async def head(self, session_id: str) -> Head | None:
        """Return where a session's log ends, no earlier than when this was called, or None if there is no such session."""
        ...

    async def since(self, session_id: str, head: Head) -> list[NumberedFact] | None:
        """Return what was recorded after a head, in order, or None if the session with its key is gone."""
        ...

    def follow(self, told: Told) -> None:
        """Have `told` called whenever another engine has written, as soon as that is known. To be set before the journal starts."""
        ...


class Journal(Protocol):
    """An append-only log of facts, by session.

    All reads raise `JournalUnavailableError` where the journal cannot be read, and `JournalCorruptError` where what is there is no journal.
    """

    @property
    def others(self) -> Others | None:
        """The other engines that may write to it. If there can be any, what is in memory is compared with `head` before it is used."""
        ...

    async def start(self) -> None:
        """Open it, and bring its schema up to date.

        Raises:
            JournalOpenError: it cannot be used.
        """
        ...

    async def stop(self) -> None:
        """Write what waits, and close it."""
        ...

    def append(
        self, session_id: str, facts: Sequence[Fact], settled: Settled, key: int | None = None
    ) -> asyncio.Future[int]:
        """Record facts of one session, all or none of them; with a `key`, only if the session still is the one with that key.

        They are durable when `settled` is called with the session's revision after them; then the future resolves to it. A caller that
        goes away changes neither: that is why there are two.

        Raises:
            JournalBusyError: at once, if the queue is full.

        The future raises `JournalUnavailableError` if they could not be written, `JournalConflictError` if an id is taken, and
        `SessionNotFoundError` if the session is not in the journal.
        """
        ...

    def delete(self, session_id: str, settled: Settled, untouched_since_ns: int | None = None) -> asyncio.Future[int]:
        """Delete all facts of a session, and resolve to how many there were; 0 if there is no such session.

        What was appended before is deleted too, what comes later finds no session. With `untouched_since_ns`, nothing is deleted where
        something was recorded at that moment or later, and the future resolves to 0.

        Raises:
            JournalBusyError: at once, if the queue is full.

        The future raises `JournalUnavailableError` if nothing was deleted, or if the file could not yet be cleaned of what was: then the
        same call is to be made again.
        """
        ...

    def copy(self, opening: SessionFact, origin: Origin, settled: Settled) -> asyncio.Future[int]:
        """Record a new session with what it takes along from another one, all or nothing of it.

        `settled` and the future as in `append`; the revision is the new session's.

        Raises:
            JournalBusyError: at once, if the queue is full.

        The future raises `JournalUnavailableError` if it could not be written, `JournalConflictError` if the new id is taken, and
        `SessionNotFoundError` if the origin is not in the journal.
        """
        ...

    def keep(self, session_id: str, snapshot: Snapshot, key: int | None = None) -> asyncio.Future[int]:
        """Keep a snapshot in the place of the one that is there; with a `key`, only if the session still is the one with that key.

        Resolves to 1, or to 0 where there is no such session. Nothing rests on it: a snapshot may be gone at any time.

        Raises:
            JournalBusyError: at once, if the queue is full.

        The future raises `JournalUnavailableError` if it could not be written.
        """
        ...

    async def rebuild(self, session_id: str, build: Callable[[Stored], _Built]) -> _Built | None:
        """Have something built from a session in a reader's thread, and return it; None if there is no such session.

        So the rows of a long one need not be in memory all at once.
        """
        ...

    async def load(self, session_id: str) -> SessionLog | None:
        """Return all facts of a session, or None if there is no such session."""
        ...

    async def untouched_since(self, moment_ns: int, limit: int) -> list[str]:
        """Return sessions of which nothing was recorded at a moment or later, at most `limit`."""
        ...

    async def turns(self, session_id: str, turn_ids: Collection[str]) -> list[TurnFact]:
        """Return those of the turns that exist, in the order of `turn_ids`."""
        ...

    async def turns_before(self, session_id: str, sequence: int | None, limit: int) -> list[NumberedTurn]:
        """Return the latest turns recorded before a number (None: all), oldest first, at most `limit`."""
        ...

    async def stimuli(self, session_id: str, stimulus_ids: Collection[str]) -> list[StimulusFact]:
        """Return those of the stimuli that exist, in the order of `stimulus_ids`."""
        ...
