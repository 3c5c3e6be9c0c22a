"""The facts of a session, as they are written and never changed.

Moments are in nanoseconds since the epoch. `occurred_ns` is when something happened, `recorded_ns` when the engine learned of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import NamedTuple

from services.state_engine.causes import Cause, Reading


class Role(IntEnum):
    """Who said something. The numbers are stored."""

    USER = 1
    ASSISTANT = 2


class ForkOrigin(NamedTuple):
    """Where a session was forked from: another session, at one of its turns; "" for the root."""

    session_id: str
    turn_id: str


@dataclass(frozen=True, slots=True)
class SessionFact:
    """A session was opened, under the temperament whose text is kept with it; `forked_from` is None unless it is a fork."""

    session_id: str
    temperament: str
    temperament_digest: str
    temperament_text: str
    keep_text: bool
    created_ns: int
    forked_from: ForkOrigin | None = None


@dataclass(frozen=True, slots=True)
class TurnFact:
    """Something was said. The parent is "" for the root; the text is "" where the session does not keep it."""

    turn_id: str
    parent_turn_id: str
    role: Role
    occurred_ns: int
    recorded_ns: int
    text: str
    cut: bool


@dataclass(frozen=True, slots=True)
class StimulusFact:
    """Something was felt, at a turn."""

    stimulus_id: str
    turn_id: str
    occurred_ns: int
    recorded_ns: int
    cause: Cause

    def without_words(self) -> StimulusFact:
        """Return the fact without a head's reasoning, which quotes what was said."""
        if isinstance(self.cause, Reading) and self.cause.reasoning:
            return replace(self, cause=replace(self.cause, reasoning=""))
        return self


@dataclass(frozen=True, slots=True)
class RetractionFact:
    """A stimulus is not to count. It never counts again, whichever of the two comes first."""

    stimulus_id: str
    recorded_ns: int


@dataclass(frozen=True, slots=True)
class PauseFact:
    """The session's own clock stands still from a moment on."""

    pause_id: str
    from_ns: int
    recorded_ns: int


@dataclass(frozen=True, slots=True)
class ResumptionFact:
    """A pause is over from a moment on."""

    pause_id: str
    from_ns: int
    recorded_ns: int


@dataclass(frozen=True, slots=True)
class RewindFact:
    """The session's tip was moved to a turn; "" for the root."""

    rewind_id: str
    turn_id: str
    recorded_ns: int


LaterFact = TurnFact | StimulusFact | RetractionFact | PauseFact | ResumptionFact | RewindFact
"""What can be recorded of a session once it is open."""

Fact = SessionFact | LaterFact


@dataclass(frozen=True, slots=True)
class SessionLog:
    """All facts of one session, in the order in which they were recorded.

    Attributes:
        session: how it was opened.
        facts: what came then.
        revision: how many facts that is, with the opening.
        key: the journal's own key of the session: another one where the id was deleted and is used again.
    """

    session: SessionFact
    facts: Sequence[LaterFact]
    revision: int
    key: int


class Snapshot(NamedTuple):
    """What was kept of a session at a revision, so that its log need not be read from the beginning."""

    revision: int
    content: bytes


UNREADABLE = Snapshot(1, b"")
"""Stands for one that the store cannot read any more."""


class Origin(NamedTuple):
    """What a fork takes along: the facts of a session up to a number that belong to the path to a turn ("" for the root).

    `key` is the journal's own key of the session, where it is known.
    """

    session_id: str
    key: int | None
    turn_id: str
    revision: int


class Head(NamedTuple):
    """Where a session's log ends: the journal's own key of the session, and the number of its last fact."""

    key: int
    revision: int


class NumberedFact(NamedTuple):
    """A fact and its number among the session's facts."""

    sequence: int
    fact: LaterFact


@dataclass(frozen=True, slots=True)
class NumberedTurn:
    """A turn and its number among the session's facts."""

    sequence: int
    turn: TurnFact


@dataclass(frozen=True, slots=True)
class Stored:
    """A session as it stands in the journal, to be read from there piece by piece.

    Attributes:
        session: how it was opened.
        key: the journal's own key of it.
        snapshot: the one that is kept, unread; None if there is none.
        after: returns what was recorded after a number, in order.
    """

    session: SessionFact
    key: int
    snapshot: Snapshot | None
    after: Callable[[int], Iterable[NumberedFact]]
