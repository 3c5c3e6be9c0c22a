"""The state engine's use cases: decide what is new, write it down, and only then feel it.

Everything here runs on the event loop, and between looking at a session and handing facts to the journal there is no await.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from limbic.runtime.clock import Clock
from limbic.runtime.errors import InvalidArgumentError
from services.state_engine import metrics
from services.state_engine.cache import SessionCache
from services.state_engine.causes import Event
from services.state_engine.commands import AddStimulus, CreateSession, NewStimulus, RecordTurn
from services.state_engine.errors import (
    JournalUnavailableError,
    SessionExistsError,
    SessionNotFoundError,
    TurnNotFoundError,
)
from services.state_engine.history import Page, page_of_all, page_of_path
from services.state_engine.journal.facts import Fact, SessionFact
from services.state_engine.journal.port import Journal, JournalConflictError
from services.state_engine.library import TemperamentLibrary
from services.state_engine.session import Session, State, stimulus_key, turn_key
from services.state_engine.writes import Writes

_SESSIONS_RECORDED = metrics.FACTS.labels("session")
_REPEATED_SESSIONS = metrics.DUPLICATES.labels("CreateSession")
_REPEATED_TURNS = metrics.DUPLICATES.labels("RecordTurn")
_REPEATED_STIMULI = metrics.DUPLICATES.labels("AddStimulus")


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """What an operator chooses: see `StateSettings`."""

    temperament: str
    keep_text: bool
    cached_sessions: int
    facts_per_session: int


class Engine:
    """Sessions over a journal.

    Args:
        journal: started and stopped by whoever made it.
        temperaments: what sessions may choose from.
        clock: the present.
        options: what an operator chooses.

    Raises:
        TemperamentNotFoundError: the default temperament does not exist.
    """

    def __init__(
        self, journal: Journal, temperaments: TemperamentLibrary, clock: Clock, options: EngineOptions
    ) -> None:
        temperaments.named(options.temperament)
        self._journal = journal
        self._temperaments = temperaments
        self._clock = clock
        self._options = options
        self._sessions = SessionCache(self._load, options.cached_sessions)
        self._writes = Writes(journal, self._sessions, options.facts_per_session)
        self._opening: dict[str, asyncio.Future[None]] = {}

    async def create_session(self, command: CreateSession) -> tuple[Session, bool]:
        """Open a session, and say whether it was there already.

        Raises:
            SessionExistsError: it is there, with other settings.
            TemperamentNotFoundError: there is no such temperament.
        """
        while True:
            try:
                session = await self._sessions.get(command.session_id)
            except SessionNotFoundError:
                opening = self._opening.get(command.session_id)
                if opening is None:
                    return await self._open(command), False
                await asyncio.wait((opening,))
            else:
                _check_session(command, session.fact)
                _REPEATED_SESSIONS.inc()
                return session, True

    async def session(self, session_id: str) -> Session:
        """Return a session.

        Raises:
            SessionNotFoundError: there is none.
        """
        return await self._sessions.get(session_id)

    async def state(self, session_id: str, turn_id: str | None, as_of_ns: int | None) -> State:
        """Return the state at a turn (None: the tip) and a moment (None: now).

        Raises:
            SessionNotFoundError, TurnNotFoundError: there is none.
        """
        session = await self._sessions.get(session_id)
        turn = session.tip if turn_id is None else turn_id
        if turn not in session.timeline:
            raise TurnNotFoundError("turn_id", turn)
        return session.state_now(turn, self._clock.now_ns()) if as_of_ns is None else session.state(turn, as_of_ns)

    async def turns(self, session_id: str, path_to: str | None, limit: int, token: str) -> Page:
        """Return a page of a session's turns, or of those on the path to one of them ("tip" stands for the tip).

        Raises:
            SessionNotFoundError, TurnNotFoundError: there is none.
            InvalidArgumentError: the token is not one that an earlier page gave.
        """
        session = await self._sessions.get(session_id)
        if path_to is None:
            return await page_of_all(self._journal, session, limit, token)
        return await page_of_path(self._journal, session, path_to, limit, token)

    async def record_turn(self, command: RecordTurn) -> tuple[State, bool]:
        """Record a turn and what it made felt; return the state at it and whether all of that had been recorded before.

        Raises:
            SessionNotFoundError, TurnNotFoundError: the session or the parent is not there.
            TurnExistsError, StimulusExistsError: an id was used before for something else.
            InvalidArgumentError: an event that the temperament does not name.
            LimitExceededError, JournalBusyError, JournalUnavailableError: nothing was recorded.
        """
        new: dict[str, RecordTurn | NewStimulus] = {turn_key(command.turn_id): command}
        new.update((stimulus_key(stimulus.stimulus_id), stimulus) for stimulus in command.stimuli)
        session, repeated = await self._writes.judge(command.session_id, new, command.turn_id, command.parent_turn_id)
        now_ns = self._clock.now_ns()
        keep_text = session.fact.keep_text
        facts: list[Fact] = []
        said_ns = session.said_ns(command.turn_id)
        if said_ns is None:
            turn = command.fact(session.tip, now_ns, keep_text=keep_text)
            if turn.parent_turn_id not in session.timeline:
                raise TurnNotFoundError("parent_turn_id", turn.parent_turn_id)
            said_ns = turn.occurred_ns
            facts.append(turn)
        for stimulus in command.stimuli:
            if stimulus_key(stimulus.stimulus_id) not in repeated:
                _check_event(session, stimulus)
                facts.append(stimulus.fact(command.turn_id, said_ns, now_ns, keep_text=keep_text))
        if facts:
            await self._writes.commit(session, facts)
        else:
            _REPEATED_TURNS.inc()
        return session.state_now(command.turn_id, self._clock.now_ns()), not facts

    async def add_stimulus(self, command: AddStimulus) -> tuple[State, bool]:
        """Add a stimulus to a turn; return the state at the tip and whether it had been recorded before.

        Raises:
            SessionNotFoundError, TurnNotFoundError: the session or the turn is not there.
            StimulusExistsError: the id was used before for something else.
            InvalidArgumentError: an event that the temperament does not name.
            LimitExceededError, JournalBusyError, JournalUnavailableError: nothing was recorded.
        """
        stimulus = command.stimulus
        new: dict[str, RecordTurn | NewStimulus] = {stimulus_key(stimulus.stimulus_id): stimulus}
        session, repeated = await self._writes.judge(command.session_id, new, command.turn_id, command.turn_id)
        if repeated:
            _REPEATED_STIMULI.inc()
        else:
            turn_id = session.tip if command.turn_id is None else command.turn_id
            if turn_id not in session.timeline:
                raise TurnNotFoundError("turn_id", turn_id)
            _check_event(session, stimulus)
            now_ns, said_ns = self._clock.now_ns(), session.said_ns(turn_id)
            await self._writes.commit(
                session, [stimulus.fact(turn_id, said_ns, now_ns, keep_text=session.fact.keep_text)]
            )
        return session.state_now(session.tip, self._clock.now_ns()), bool(repeated)

    async def _open(self, command: CreateSession) -> Session:
        options = self._options
        temperament = self._temperaments.named(command.temperament or options.temperament)
        fact = SessionFact(
            session_id=command.session_id,
            temperament=temperament.name,
            temperament_digest=temperament.digest,
            temperament_text=temperament.text,
            keep_text=options.keep_text if command.keep_text is None else command.keep_text,
            created_ns=self._clock.now_ns(),
        )
        session = Session(fact, temperament)
        done = asyncio.get_running_loop().create_future()

        def settled(revision: int | None) -> None:
            del self._opening[fact.session_id]
            if revision is not None:
                self._sessions.put(session)
                _SESSIONS_RECORDED.inc()
            done.set_result(None)

        recorded = self._journal.append(fact.session_id, [fact], settled)
        self._opening[fact.session_id] = done
        try:
            await recorded
        except JournalConflictError:
            raise JournalUnavailableError("written") from None
        return session

    async def _load(self, session_id: str) -> Session | None:
        started = self._clock.monotonic()
        log = await self._journal.load(session_id)
        if log is None:
            return None
        session = await asyncio.to_thread(Session.of, log, self._temperaments)
        metrics.SESSION_LOADS.observe(self._clock.monotonic() - started)
        return session


def _check_session(command: CreateSession, fact: SessionFact) -> None:
    if command.temperament is not None and command.temperament != fact.temperament:
        raise SessionExistsError(fact.session_id, "temperament")
    if command.keep_text is not None and command.keep_text != fact.keep_text:
        raise SessionExistsError(fact.session_id, "keep_text")


def _check_event(session: Session, stimulus: NewStimulus) -> None:
    cause = stimulus.cause
    known = session.temperament.appraisal.events
    if isinstance(cause, Event) and cause.name not in known:
        raise InvalidArgumentError(
            f"{stimulus.field}.event.name", f"is no event of temperament {session.fact.temperament}: {', '.join(known)}"
        )
