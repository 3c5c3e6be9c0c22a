"""The facts of a session, as they are written and never changed.

Moments are in nanoseconds since the epoch. `occurred_ns` is when something happened, `recorded_ns` when the engine learned of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import IntEnum

from services.state_engine.causes import Cause, Reading


class Role(IntEnum):
    """Who said something. The numbers are stored."""

    USER = 1
    ASSISTANT = 2


@dataclass(frozen=True, slots=True)
class SessionFact:
    """A session was opened, under the temperament whose text is kept with it."""

    session_id: str
    temperament: str
    temperament_digest: str
    temperament_text: str
    keep_text: bool
    created_ns: int


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


Fact = SessionFact | TurnFact | StimulusFact


@dataclass(frozen=True, slots=True)
class SessionLog:
    """All facts of one session, in the order in which they were recorded.

    Attributes:
        session: how it was opened.
        facts: what came then.
        revision: how many facts that is, with the opening.
    """

    session: SessionFact
    facts: Sequence[TurnFact | StimulusFact]
    revision: int


@dataclass(frozen=True, slots=True)
class NumberedTurn:
    """A turn and its number among the session's facts."""

    sequence: int
    turn: TurnFact
