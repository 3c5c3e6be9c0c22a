"""How sessions begin: as new ones, or as forks of others."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

from limbic.runtime.clock import Clock
from limbic.runtime.logs import get_logger
from services.state_engine import metrics
from services.state_engine.again import again_after_conflict
from services.state_engine.cache import SessionCache
from services.state_engine.commands import CreateSession, ForkSession
from services.state_engine.cutting import cut_to
from services.state_engine.errors import (
    SessionExistsError,
    SessionNotFoundError,
    TurnNotFoundError,
)
from services.state_engine.journal.facts import Fact, ForkOrigin, LaterFact, Origin, SessionFact
from services.state_engine.journal.port import Journal, Settled
from services.state_engine.library import TemperamentLibrary
from services.state_engine.picture import Picture
from services.state_engine.session import Session
from services.state_engine.snapshots import Snapshots
from services.state_engine.temperament import Temperament

_log = get_logger(__name__)

_SESSIONS_RECORDED = metrics.FACTS.labels("session")


@dataclass(frozen=True, slots=True)
class Defaults:
    """What a session is opened with where its caller leaves it open."""

    temperament: str
    keep_text: bool


@dataclass(frozen=True, slots=True)
class _Draft:
    """A session that is not in the journal yet, and how to record it."""

    session: Session
    record: Callable[[Settled], asyncio.Future[int]]


class Opening:
    """Makes sessions.

    Args:
        journal: where facts go.
        sessions: what is in memory.
        temperaments: what sessions may choose from.
        clock: the present.
        defaults: what counts where a caller leaves it open.
        snapshots: what is kept of sessions that are long from the beginning.
    """

    def __init__(
        self,
        journal: Journal,
        sessions: SessionCache,
        temperaments: TemperamentLibrary,
        clock: Clock,
        defaults: Defaults,
        snapshots: Snapshots,
    ) -> None:
        self._journal = journal
        self._snapshots = snapshots
        self._sessions = sessions
        self._temperaments = temperaments
        self._clock = clock
        self._defaults = defaults
        self._under_way: dict[str, asyncio.Future[None]] = {}

    async def create(self, command: CreateSession) -> tuple[Session, bool]:
        """Open a session, and say whether it was there already.

        Raises:
            SessionExistsError: it is there, with other settings.
            TemperamentNotFoundError: there is no such temperament.
        """

        async def draft() -> _Draft:
            temperament = self._temperaments.named(command.temperament or self._defaults.temperament)
            fact = SessionFact(
                session_id=command.session_id,
                temperament=temperament.name,
                temperament_digest=temperament.digest,
                temperament_text=temperament.text,
                keep_text=self._defaults.keep_text if command.keep_text is None else command.keep_text,
                created_ns=self._clock.now_ns(),
            )
            return self._appended(Session(fact, temperament), [fact])

        session, existed = await self._open(command.session_id, draft)
        if existed:
            _check_same(command, session.fact)
        return session, existed

    async def fork(self, command: ForkSession) -> tuple[Session, bool]:
        """Make a session from another one's path to a turn, and say whether it was there already.

        All of it is copied at once, inside the journal, so that the fork has a log of its own: it can be exported, replayed and deleted
        without the other, and what comes later to either reaches one of them only.

        Raises:
            SessionNotFoundError, TurnNotFoundError: the session to fork or its turn is not there.
            SessionExistsError: the new id is taken by something else.
        """
        session, existed = await self._open(command.new_session_id, lambda: self._copy(command))
        if existed:
            origin = session.fact.forked_from
            if origin is None or origin.session_id != command.session_id:
                raise SessionExistsError(command.new_session_id, "origin", "new_session_id")
            if command.turn_id is not None and command.turn_id != origin.turn_id:
                raise SessionExistsError(command.new_session_id, "turn_id", "new_session_id")
        return session, existed

    async def take(self, session: Session, facts: Sequence[LaterFact]) -> bool:
        """Record a whole session, and say whether it was there already with the same facts.

        Raises:
            SessionExistsError: it is there, with others.
        """
        opening = session.fact

        async def draft() -> _Draft:
            return self._appended(session, [opening, *facts])

        _, existed = await self._open(opening.session_id, draft)
        if existed:
            log = await self._journal.load(opening.session_id)
            if log is None or log.session != opening or list(log.facts) != list(facts):
                raise SessionExistsError(opening.session_id, "content")
        return existed

    @again_after_conflict
    async def _open(self, session_id: str, draft: Callable[[], Awaitable[_Draft]]) -> tuple[Session, bool]:
        while True:
            try:
                return await self._sessions.get(session_id), True
            except SessionNotFoundError:
                under_way = self._under_way.get(session_id)
                if under_way is None:
                    return await self._make(session_id, draft), False
                await asyncio.wait((under_way,))

    async def _make(self, session_id: str, draft: Callable[[], Awaitable[_Draft]]) -> Session:
        done = asyncio.get_running_loop().create_future()
        self._under_way[session_id] = done

        def release() -> None:
            del self._under_way[session_id]
            done.set_result(None)

        try:
            made = await draft()
            session = made.session

            def settled(revision: int | None) -> None:
                if revision is not None and revision != session.revision:
                    # A fault of ours; it is rebuilt from the journal, which has the facts.
                    _log.error(
                        "a new session has other facts than the journal", facts=session.revision, recorded=revision
                    )
                elif revision is not None:
                    # Where other engines write, only a session that was read from the journal can be told from a later one of its name.
                    if self._journal.others is None:
                        self._sessions.put(session)
                    self._snapshots.consider(session)
                if revision is not None:
                    _SESSIONS_RECORDED.inc()
                release()

            recorded = made.record(settled)
        except BaseException:
            # Nothing has been handed over, so nobody else will.
            release()
            raise
        await recorded
        return session

    async def _copy(self, command: ForkSession) -> _Draft:
        while True:
            origin = await self._sessions.get(command.session_id)
            turn_id = origin.tip.turn_id if command.turn_id is None else command.turn_id
            if turn_id not in origin.timeline:
                raise TurnNotFoundError("turn_id", turn_id)
            opening = replace(
                origin.fact,
                session_id=command.new_session_id,
                created_ns=self._clock.now_ns(),
                forked_from=ForkOrigin(command.session_id, turn_id),
            )
            picture, key = origin.picture(), origin.key
            session = await asyncio.to_thread(_fork_of, picture, opening, turn_id, origin.temperament)
            taken = Origin(command.session_id, key, turn_id, picture.revision)
            # Where there are other engines, the key tells it from another session of its name. Here it has to be the one in memory still:
            # then no other of its name can have begun.
            if self._journal.others is not None or self._sessions.holds(origin):
                return _Draft(session, partial(self._journal.copy, opening, taken))

    def _appended(self, session: Session, facts: Sequence[Fact]) -> _Draft:
        return _Draft(session, lambda settled: self._journal.append(session.fact.session_id, facts, settled))


def _fork_of(picture: Picture, opening: SessionFact, turn_id: str, temperament: Temperament) -> Session:
    session = Session.pictured(opening, temperament, None, cut_to(picture, turn_id))
    session.kept = 0
    session.fold()
    return session


def _check_same(command: CreateSession, fact: SessionFact) -> None:
    if command.temperament is not None and command.temperament != fact.temperament:
        raise SessionExistsError(fact.session_id, "temperament")
    if command.keep_text is not None and command.keep_text != fact.keep_text:
        raise SessionExistsError(fact.session_id, "keep_text")
