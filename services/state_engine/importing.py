"""Reads a session from the lines of an export, and folds it on the way: what does not fit is refused by the number of its line."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from limbic.runtime.errors import InvalidArgumentError
from limbic.runtime.validate import FUTURE_TOLERANCE_NS
from services.state_engine.causes import Event
from services.state_engine.errors import LimitExceededError
from services.state_engine.export_format import LineError, parse_line
from services.state_engine.journal.facts import (
    LaterFact,
    PauseFact,
    ResumptionFact,
    RetractionFact,
    RewindFact,
    SessionFact,
    StimulusFact,
    TurnFact,
)
from services.state_engine.library import TemperamentLibrary
from services.state_engine.session import Session, retraction_key, stimulus_key, turn_key
from services.state_engine.temperament import TemperamentError

FIELD: Final = "json_line"


class Import:
    """One session on its way in. Nothing is recorded before all of it has been read.

    Args:
        temperaments: those that are known already.
        session_id: the id to give it; None for the one in the file.
        now_ns: the present, in nanoseconds since the epoch.
        facts_per_session: how many facts a session may hold.

    Attributes:
        facts: what came after the opening.
    """

    def __init__(
        self, temperaments: TemperamentLibrary, session_id: str | None, now_ns: int, facts_per_session: int
    ) -> None:
        self._temperaments = temperaments
        self._session_id = session_id
        self._latest_ns = now_ns + FUTURE_TOLERANCE_NS
        self._facts_per_session = facts_per_session
        self._session: Session | None = None
        self._lines = 0
        self._ended = False
        self.facts: list[LaterFact] = []

    def read(self, lines: Iterable[str]) -> None:
        """Take in further lines.

        Raises:
            InvalidArgumentError: a line that cannot be used, by its number.
            LimitExceededError: there are more facts than a session may hold.
        """
        for line in lines:
            self._lines += 1
            try:
                self._read(line)
            except LineError as error:
                raise InvalidArgumentError(FIELD, f"line {self._lines:,}: {error}", line=str(self._lines)) from None

    def finish(self) -> Session:
        """Return the session that the lines make up.

        Raises:
            InvalidArgumentError: the end is missing.
        """
        if self._session is None or not self._ended:
            raise InvalidArgumentError(FIELD, f"the end is missing after line {self._lines:,}", line=str(self._lines))
        self._session.fold()
        return self._session

    def _read(self, line: str) -> None:
        if self._ended:
            raise LineError("stands after the end")
        found = parse_line(line)
        if isinstance(found, int):
            self._end(found)
        elif isinstance(found, SessionFact):
            self._open(found)
        elif self._session is None:
            raise LineError("must be the session's opening")
        else:
            self._check(found, self._session)
            self.facts.append(found)
            self._session.apply([found], 1 + len(self.facts))
            if self._session.revision > self._facts_per_session:
                raise LimitExceededError(self._facts_per_session)

    def _open(self, fact: SessionFact) -> None:
        if self._session is not None:
            raise LineError("a second opening")
        self._not_in_the_future("created_ns", fact.created_ns)
        try:
            temperament = self._temperaments.recorded(fact.temperament, fact.temperament_digest, fact.temperament_text)
        except TemperamentError as error:
            raise LineError(f"temperament_text: {error.key}: {error.reason}") from None
        session_id = fact.session_id if self._session_id is None else self._session_id
        self._session = Session(replace(fact, session_id=session_id, temperament_text=temperament.text), temperament)

    def _end(self, facts: int) -> None:
        if self._session is None or facts != self._session.revision:
            raise LineError("facts: is not the number of facts before it")
        self._ended = True

    def _check(self, fact: LaterFact, session: Session) -> None:
        match fact:
            case TurnFact():
                self._not_in_the_future("occurred_ns", fact.occurred_ns)
                _new(session, "turn_id", turn_key(fact.turn_id))
                _there("parent_turn_id", fact.parent_turn_id in session.timeline)
            case StimulusFact():
                self._not_in_the_future("occurred_ns", fact.occurred_ns)
                _new(session, "stimulus_id", stimulus_key(fact.stimulus_id))
                _there("turn_id", fact.turn_id in session.timeline)
                cause = fact.cause
                if isinstance(cause, Event) and cause.name not in session.temperament.appraisal.events:
                    raise LineError("event.name: is no event of the temperament")
            case RetractionFact():
                _there("stimulus_id", session.holds(stimulus_key(fact.stimulus_id)))
                _new(session, "stimulus_id", retraction_key(fact.stimulus_id))
            case RewindFact():
                _there("turn_id", fact.turn_id in session.timeline)
                if session.tip.rewound(fact.rewind_id) is not None:
                    raise LineError("rewind_id: was used on an earlier line")
            case PauseFact():
                self._not_in_the_future("from_ns", fact.from_ns)
                if session.pauses.began_ns(fact.pause_id) is not None:
                    raise LineError("pause_id: was used on an earlier line")
            case ResumptionFact():
                began_ns = session.pauses.began_ns(fact.pause_id)
                _there("pause_id", began_ns is not None)
                if session.pauses.ended_ns(fact.pause_id) is not None:
                    raise LineError("pause_id: has ended on an earlier line")
                if began_ns is not None and fact.from_ns < began_ns:
                    raise LineError("from_ns: lies before the pause")

    def _not_in_the_future(self, key: str, moment_ns: int) -> None:
        if moment_ns > self._latest_ns:
            raise LineError(f"{key}: lies in the future")


def _new(session: Session, key: str, fact_key: str) -> None:
    if session.holds(fact_key):
        raise LineError(f"{key}: was used on an earlier line")


def _there(key: str, found: bool) -> None:
    if not found:
        raise LineError(f"{key}: names nothing on an earlier line")
