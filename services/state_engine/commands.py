"""What callers ask for, after it has been checked and before it is known whether it is new. None means: the engine chooses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from services.state_engine.causes import Cause, Event, same_cause
from services.state_engine.errors import StimulusExistsError, TurnExistsError
from services.state_engine.journal.facts import Role, StimulusFact, TurnFact


@dataclass(frozen=True, slots=True)
class NewStimulus:
    """A stimulus to record. Without a time, a reading takes its turn's, and an event the present.

    `field` is where it stands in the request.
    """

    field: str
    stimulus_id: str
    occurred_ns: int | None
    cause: Cause

    def fact(self, turn_id: str, said_ns: int | None, now_ns: int, *, keep_text: bool) -> StimulusFact:
        """Return what is to be recorded at a turn that was said at `said_ns`; None at the root, where nothing was said."""
        default_ns = now_ns if isinstance(self.cause, Event) or said_ns is None else said_ns
        occurred_ns = default_ns if self.occurred_ns is None else self.occurred_ns
        fact = StimulusFact(self.stimulus_id, turn_id, occurred_ns, now_ns, self.cause)
        return fact if keep_text else fact.without_words()

    def check_repeats(self, recorded: StimulusFact, turn_id: str | None) -> None:
        """Check that this is what was recorded under its id; `turn_id` is None where the caller named no turn.

        What the caller left to the engine is not compared, and neither is when a call arrived.

        Raises:
            StimulusExistsError: it is something else.
        """
        if turn_id is not None and turn_id != recorded.turn_id:
            raise StimulusExistsError(self.stimulus_id, "turn_id")
        if self.occurred_ns is not None and self.occurred_ns != recorded.occurred_ns:
            raise StimulusExistsError(self.stimulus_id, "occurred_at")
        if not same_cause(self.cause, recorded.cause):
            raise StimulusExistsError(self.stimulus_id, "cause")


@dataclass(frozen=True, slots=True)
class RecordTurn:
    """A turn to record, with what it made felt. Without a parent it follows the tip, without a time it was said now."""

    session_id: str
    turn_id: str
    parent_turn_id: str | None
    role: Role
    occurred_ns: int | None
    text: str
    cut: bool
    stimuli: tuple[NewStimulus, ...]

    def fact(self, tip: str, now_ns: int, *, keep_text: bool) -> TurnFact:
        """Return what is to be recorded."""
        return TurnFact(
            turn_id=self.turn_id,
            parent_turn_id=tip if self.parent_turn_id is None else self.parent_turn_id,
            role=self.role,
            occurred_ns=now_ns if self.occurred_ns is None else self.occurred_ns,
            recorded_ns=now_ns,
            text=self.text if keep_text else "",
            cut=self.cut,
        )

    def check_repeats(self, recorded: TurnFact, *, keeps_text: bool) -> None:
        """Check that this is what was recorded under its id.

        What the caller left to the engine is not compared, nor when a call arrived, nor words that were not kept.

        Raises:
            TurnExistsError: it is something else.
        """
        if self.parent_turn_id is not None and self.parent_turn_id != recorded.parent_turn_id:
            raise TurnExistsError(self.turn_id, "parent_turn_id")
        if self.role is not recorded.role:
            raise TurnExistsError(self.turn_id, "role")
        if self.occurred_ns is not None and self.occurred_ns != recorded.occurred_ns:
            raise TurnExistsError(self.turn_id, "occurred_at")
        if keeps_text and self.text != recorded.text:
            raise TurnExistsError(self.turn_id, "text")
        if self.cut != recorded.cut:
            raise TurnExistsError(self.turn_id, "cut")


@dataclass(frozen=True, slots=True)
class AddStimulus:
    """A stimulus to add to a turn; without one, to the tip."""

    session_id: str
    turn_id: str | None
    stimulus: NewStimulus


@dataclass(frozen=True, slots=True)
class CreateSession:
    """A session to open, under a temperament and with or without its words."""

    session_id: str
    temperament: str | None
    keep_text: bool | None


@dataclass(frozen=True, slots=True)
class RetractStimulus:
    """A stimulus to take back."""

    session_id: str
    stimulus_id: str


@dataclass(frozen=True, slots=True)
class ForkSession:
    """A session to make from another one's path to a turn; without one, to its tip."""

    session_id: str
    turn_id: str | None
    new_session_id: str


@dataclass(frozen=True, slots=True)
class RewindSession:
    """A turn to move the tip to; "" for the root."""

    session_id: str
    turn_id: str
    rewind_id: str


@dataclass(frozen=True, slots=True)
class PauseSession:
    """A session's clock to stop."""

    session_id: str
    pause_id: str
    from_ns: int | None


@dataclass(frozen=True, slots=True)
class ResumeSession:
    """A pause to end; without an id, every one that is open."""

    session_id: str
    pause_id: str | None
    from_ns: int | None


@dataclass(frozen=True, slots=True)
class ReplaySession:
    """A curve to compute anew.

    Attributes:
        session_id: the conversation.
        turn_id: the end of the path; None for the tip.
        temperament: a name; None for the one that the session began with.
        temperament_text: a temperament's TOML instead of a name; None where a name counts.
        causes: what to take instead of what was recorded, by stimulus.
        interval_ns: between points; None for points at facts only.
        moments_ns: points at these moments only, ascending; empty: at facts, and between them as the interval says.
    """

    session_id: str
    turn_id: str | None
    temperament: str | None
    temperament_text: str | None
    causes: Mapping[str, Cause]
    interval_ns: int | None
    moments_ns: tuple[int, ...] = ()
