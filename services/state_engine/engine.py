"""The state engine's use cases: what can be asked of it. What makes sessions is in `opening`, what records facts in `recording`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from itertools import islice
from typing import Final

from limbic.runtime.clock import Clock
from limbic.runtime.errors import InvalidArgumentError
from services.state_engine import metrics
from services.state_engine.cache import SessionCache
from services.state_engine.catching_up import CatchingUp
from services.state_engine.commands import ReplaySession
from services.state_engine.errors import SessionNotFoundError, TurnNotFoundError
from services.state_engine.explaining import Explanation, explain
from services.state_engine.export_format import lines_of
from services.state_engine.folding import Folding
from services.state_engine.history import Page, page_of_all, page_of_path
from services.state_engine.importing import Import
from services.state_engine.journal.port import Journal
from services.state_engine.library import TemperamentLibrary
from services.state_engine.opening import Defaults, Opening
from services.state_engine.recording import Recording
from services.state_engine.replay import Point, Replay
from services.state_engine.session import Session, State
from services.state_engine.snapshots import EVERY as SNAPSHOT_EVERY
from services.state_engine.snapshots import Snapshots, rebuilt
from services.state_engine.temperament import Temperament, TemperamentError, parse_temperament
from services.state_engine.watches import Watches
from services.state_engine.writes import Writes

_LINES_AT_ONCE: Final = 256
"""Lines of an export that are written or read in one go."""

_POINTS_AT_ONCE: Final = 256
"""Points of a replay that are computed in one go: a few milliseconds, so that one reader does not hold up another."""


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """What an operator chooses: see `StateSettings`."""

    temperament: str
    keep_text: bool
    cached_sessions: int
    facts_per_session: int
    snapshot_every: int = SNAPSHOT_EVERY


class Engine:
    """Sessions over a journal.

    Args:
        journal: started and stopped by whoever made it.
        temperaments: what sessions may choose from.
        clock: the present.
        options: what an operator chooses.
        executor: where long folds are made; None for the event loop's own threads.

    Attributes:
        opening: makes sessions.
        recording: records facts of them.
        folding: the way to their states.
        watches: who is told of what is recorded.

    Raises:
        TemperamentNotFoundError: the default temperament does not exist.
    """

    def __init__(
        self,
        journal: Journal,
        temperaments: TemperamentLibrary,
        clock: Clock,
        options: EngineOptions,
        executor: Executor | None = None,
    ) -> None:
        temperaments.named(options.temperament)
        self._journal = journal
        self._temperaments = temperaments
        self._clock = clock
        self._facts_per_session = options.facts_per_session
        self.watches = Watches()
        self._snapshots = Snapshots(journal, self._is_current, options.snapshot_every)
        catching_up = None if journal.others is None else CatchingUp(journal.others, self.watches, self._snapshots)
        self._sessions = SessionCache(self._load, options.cached_sessions, self.watches.__contains__, catching_up)
        if catching_up is not None:
            catching_up.follow(self._sessions.get)
        defaults = Defaults(options.temperament, options.keep_text)
        self.opening = Opening(journal, self._sessions, temperaments, clock, defaults, self._snapshots)
        self.folding = Folding(clock, executor)
        writes = Writes(journal, self._sessions, self.watches, self._snapshots, options.facts_per_session)
        self.recording = Recording(writes, self.folding, clock)

    async def stop(self) -> None:
        """End what goes on beside the calls. The journal still runs."""
        await self._snapshots.stop()

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
        turn = self._turn(session, turn_id)
        await self.folding.ready(session, turn, as_of_ns)
        return session.state(turn, self.folding.moment(session, turn, as_of_ns))

    async def explain(self, session_id: str, turn_id: str | None, as_of_ns: int | None, limit: int) -> Explanation:
        """Return what the state at a turn (None: the tip) and a moment (None: now) is made of, at most `limit` stimuli apart.

        Raises:
            SessionNotFoundError, TurnNotFoundError: there is none.
        """
        session = await self._sessions.get(session_id)
        turn = self._turn(session, turn_id)
        return await explain(self._journal, self.folding, session, turn, as_of_ns, limit)

    async def replay(self, command: ReplaySession) -> AsyncIterator[Sequence[Point]]:
        """Yield both curves, some points at a time.

        Raises:
            SessionNotFoundError, TurnNotFoundError, TemperamentNotFoundError: there is none.
            InvalidArgumentError: see `Replay`; or the text given is no temperament.
        """
        temperament = await self._temperament(command)
        log = await self._journal.load(command.session_id)
        if log is None:
            raise SessionNotFoundError(command.session_id)
        replay = await asyncio.to_thread(
            Replay,
            log,
            command.turn_id,
            self._temperaments,
            temperament,
            command.causes,
            command.interval_ns,
            self._clock.now_ns(),
            command.moments_ns,
        )
        points = iter(replay)

        def some() -> list[Point]:
            return list(islice(points, _POINTS_AT_ONCE))

        while found := await asyncio.to_thread(some):
            yield found

    async def export(self, session_id: str) -> AsyncIterator[Sequence[str]]:
        """Yield the lines of a session's export, some at a time.

        Raises:
            SessionNotFoundError: there is none.
        """
        log = await self._journal.load(session_id)
        if log is None:
            raise SessionNotFoundError(session_id)
        lines = lines_of(log)

        def some() -> list[str]:
            return list(islice(lines, _LINES_AT_ONCE))

        while found := await asyncio.to_thread(some):
            yield found

    async def take(self, session_id: str | None, lines: AsyncIterator[str]) -> tuple[Session, bool]:
        """Make a session from the lines of an export, under another id if one is given; say whether it was there already.

        Raises:
            InvalidArgumentError: a line cannot be used; nothing was recorded.
            LimitExceededError: there are more facts than a session may hold; nothing was recorded.
            SessionExistsError: the id is taken by something else.
        """
        incoming = Import(self._temperaments, session_id, self._clock.now_ns(), self._facts_per_session)
        some: list[str] = []
        async for line in lines:
            some.append(line)
            if len(some) == _LINES_AT_ONCE:
                await asyncio.to_thread(incoming.read, some)
                some = []
        await asyncio.to_thread(incoming.read, some)
        session = await asyncio.to_thread(incoming.finish)
        return session, await self.opening.take(session, incoming.facts)

    async def delete(self, session_id: str) -> int:
        """Delete a session and return how many facts it had; 0 if there is none.

        What is on its way to the journal before this is deleted too; what comes later finds no session.

        Raises:
            JournalBusyError: nothing was deleted.
            JournalUnavailableError: nothing was deleted, or not every trace of it yet; the same call completes it.
        """
        return await self._journal.delete(session_id, lambda deleted: self.forget(session_id))

    def forget(self, session_id: str) -> None:
        """Drop a session that was deleted from memory, and tell those who watch it."""
        self._sessions.forget(session_id)
        self.watches.tell(session_id, "")

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

    def _turn(self, session: Session, turn_id: str | None) -> str:
        turn = session.tip.turn_id if turn_id is None else turn_id
        if turn not in session.timeline:
            raise TurnNotFoundError("turn_id", turn)
        return turn

    async def _temperament(self, command: ReplaySession) -> Temperament | None:
        if command.temperament_text is not None:
            try:
                return await asyncio.to_thread(parse_temperament, "given", command.temperament_text, "the text given")
            except TemperamentError as error:
                raise InvalidArgumentError("temperament_text", f"{error.key}: {error.reason}") from None
        return None if command.temperament is None else self._temperaments.named(command.temperament)

    async def _load(self, session_id: str) -> Session | None:
        started = self._clock.monotonic()
        session = await self._journal.rebuild(session_id, lambda stored: rebuilt(stored, self._temperaments))
        if session is None:
            return None
        self._snapshots.consider(session)
        metrics.SESSION_LOADS.observe(self._clock.monotonic() - started)
        return session

    def _is_current(self, session: Session) -> bool:
        # Where there are other engines, a session that was just opened is not in memory, and the journal tells sessions of one name apart.
        return self._sessions.holds(session) or (self._journal.others is not None and session.key is None)
