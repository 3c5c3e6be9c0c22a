"""What the engine asks of a journal, whatever it is kept in."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence
from typing import Protocol

from services.state_engine.journal.facts import Fact, NumberedTurn, SessionLog, StimulusFact, TurnFact

Settled = Callable[[int | None], None]
"""Called once, on the event loop, when an append is over: with the session's revision, or None where nothing was recorded."""


class JournalOpenError(Exception):
    """The journal cannot be used. The text says why and what to do."""


class JournalConflictError(Exception):
    """A fact's id is taken in the journal, though the engine did not know of it. Nothing of the append was recorded."""


class Journal(Protocol):
    """An append-only log of facts, by session.

    All reads raise `JournalUnavailableError` where the journal cannot be read.
    """

    async def start(self) -> None:
        """Open it, and bring its schema up to date.

        Raises:
            JournalOpenError: it cannot be used.
        """
        ...

    async def stop(self) -> None:
        """Write what waits, and close it."""
        ...

    def append(self, session_id: str, facts: Sequence[Fact], settled: Settled) -> asyncio.Future[int]:
        """Record facts of one session, all or none of them.

        They are durable when `settled` is called with the session's revision after them; then the future resolves to it. A caller that
        goes away changes neither: that is why there are two.

        Raises:
            JournalBusyError: at once, if the queue is full.

        The future raises `JournalUnavailableError` if they could not be written, `JournalConflictError` if an id is taken, and
        `SessionNotFoundError` if the session is not in the journal.
        """
        ...

    async def load(self, session_id: str) -> SessionLog | None:
        """Return all facts of a session, or None if there is no such session."""
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
