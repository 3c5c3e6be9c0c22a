"""How facts get from a call into the journal and from there into a session.

A call finds either that an id is unknown, and writes it; or that it is on its way to the journal, and waits; or that it is recorded,
and compares. What is on its way can still fail, so nobody may build upon it before it is there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from prometheus_client import Counter

from limbic.runtime.clock import NS_PER_S
from limbic.runtime.logs import get_logger
from services.state_engine import metrics
from services.state_engine.cache import SessionCache
from services.state_engine.commands import NewStimulus, RecordTurn
from services.state_engine.errors import LimitExceededError, SessionNotFoundError
from services.state_engine.journal.facts import (
    Fact,
    PauseFact,
    ResumptionFact,
    RetractionFact,
    RewindFact,
    StimulusFact,
    TurnFact,
)
from services.state_engine.journal.port import Journal, JournalConflictError
from services.state_engine.session import Session, key_of, turn_key
from services.state_engine.snapshots import Snapshots
from services.state_engine.watches import Watches

_log = get_logger(__name__)

_RECORDED: Final[dict[type[Fact], Counter]] = {
    TurnFact: metrics.FACTS.labels("turn"),
    StimulusFact: metrics.FACTS.labels("stimulus"),
    RetractionFact: metrics.FACTS.labels("retraction"),
    PauseFact: metrics.FACTS.labels("pause"),
    ResumptionFact: metrics.FACTS.labels("resumption"),
    RewindFact: metrics.FACTS.labels("rewind"),
}


class Writes:
    """What all calls that record something share.

    Args:
        journal: where facts go.
        sessions: what is in memory.
        watches: who is told of what has been recorded.
        snapshots: what is kept of sessions that have grown.
        facts_per_session: how many facts a session may hold.
    """

    def __init__(
        self, journal: Journal, sessions: SessionCache, watches: Watches, snapshots: Snapshots, facts_per_session: int
    ) -> None:
        self._journal = journal
        self._sessions = sessions
        self._watches = watches
        self._snapshots = snapshots
        self._facts_per_session = facts_per_session

    async def settled(self, session_id: str, keys: Iterable[str]) -> Session:
        """Return the session when no fact of these keys is on its way any more. After the last look at it there is no await.

        Raises:
            SessionNotFoundError: there is none.
        """
        expected = tuple(keys)
        while True:
            session = await self._sessions.get(session_id)
            waiting = session.waiting_for(expected)
            if waiting is None:
                return session
            await asyncio.wait((waiting,))

    async def judge(
        self, session_id: str, new: Mapping[str, RecordTurn | NewStimulus], turn_id: str | None, follows: str | None
    ) -> tuple[Session, set[str]]:
        """Return the session, and the keys of what has been recorded already, which is then known to be the same.

        After the last look at the session there is no await, so that the caller may act on what was seen.
        """
        expected = [*new] if follows is None else [*new, turn_key(follows)]
        compared: set[str] = set()
        while True:
            session = await self.settled(session_id, expected)
            repeated = {key for key in new if session.holds(key)}
            if repeated <= compared:
                return session, repeated
            await self._compare(session, [new[key] for key in repeated], turn_id)
            compared = repeated

    async def _compare(
        self, session: Session, repeated: Sequence[RecordTurn | NewStimulus], turn_id: str | None
    ) -> None:
        session_id, keeps_text = session.fact.session_id, session.fact.keep_text
        turns = {one.turn_id: one for one in repeated if isinstance(one, RecordTurn)}
        stimuli = {one.stimulus_id: one for one in repeated if isinstance(one, NewStimulus)}
        for turn in await self._journal.turns(session_id, turns) if turns else ():
            turns[turn.turn_id].check_repeats(turn, keeps_text=keeps_text)
        for stimulus in await self._journal.stimuli(session_id, stimuli) if stimuli else ():
            stimuli[stimulus.stimulus_id].check_repeats(stimulus, turn_id)

    async def commit(self, session: Session, facts: Sequence[Fact]) -> None:
        """Make facts durable, and then have the session take them in, whether or not the caller is still there.

        Raises:
            LimitExceededError, JournalBusyError, JournalUnavailableError: nothing was recorded.
            JournalConflictError: nothing was recorded, and the same call has to be judged again: see `again_after_conflict`.
        """
        if session.revision + len(session.in_flight) + len(facts) > self._facts_per_session:
            raise LimitExceededError(self._facts_per_session)
        keys = dict.fromkeys(map(key_of, facts))
        done = asyncio.get_running_loop().create_future()

        def settled(revision: int | None) -> None:
            for key in keys:
                del session.in_flight[key]
            if revision is not None:
                self._apply(session, facts, revision)
            if session.stale and not session.in_flight:
                self._sessions.discard(session)
            done.set_result(None)

        recorded = self._journal.append(session.fact.session_id, facts, settled, session.key)
        session.in_flight.update(dict.fromkeys(keys, done))
        try:
            revision = await recorded
        except JournalConflictError:
            # Another hand has written to the journal. What is there decides. Where no other engine can have, the session is rebuilt.
            session.stale = self._journal.others is None
            if session.stale and not session.in_flight:
                self._sessions.discard(session)
            raise
        if session.revision < revision and not await self._sessions.caught_up(session):
            raise SessionNotFoundError(session.fact.session_id)

    def _apply(self, session: Session, facts: Sequence[Fact], revision: int) -> None:
        try:
            # Where another engine's facts stand before these, or have come from the journal together with these, the session catches up.
            if session.revision == revision - len(facts):
                session.apply(facts, revision)
                self._snapshots.consider(session)
        except Exception as error:  # noqa: BLE001
            # A fault of ours must not keep the other callers of this commit waiting. The journal has the facts: rebuild from them.
            _log.error("facts not applied", error=type(error).__name__, exc_info=error)
            session.stale = True
        for fact in facts:
            _RECORDED[type(fact)].inc()
            if isinstance(fact, StimulusFact):
                metrics.STIMULUS_LATENESS.observe(max(0, fact.recorded_ns - fact.occurred_ns) / NS_PER_S)
        self._watches.tell(session.fact.session_id, session.place_of(facts[-1]))
