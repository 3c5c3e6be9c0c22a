"""The state engine's use cases: what can be asked of it. What makes sessions is in `opening`, what records facts in `recording`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
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
from services.state_engine.explanation import Breakdown, Shares, axis_shares, break_down
from services.state_engine.export_format import lines_of
from services.state_engine.history import Page, page_of_all, page_of_path
from services.state_engine.importing import Import
from services.state_engine.journal.port import Journal
from services.state_engine.library import TemperamentLibrary
from services.state_engine.opening import Defaults, Opening
from services.state_engine.recording import Recording
from services.state_engine.replay import Point, Replay
from services.state_engine.session import Session, State
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


@dataclass(frozen=True, slots=True)
class Explanation:
    """A state, what it is made of, and for each stimulus told apart its axes' shares and the words said; "" where they are not kept."""

    state: State
    temperament: Temperament
    breakdown: Breakdown
    axes: Mapping[str, Mapping[str, Shares]]
    words: Mapping[str, str]


class Engine:
    """Sessions over a journal.

    Args:
        journal: started and stopped by whoever made it.
        temperaments: what sessions may choose from.
        clock: the present.
        options: what an operator chooses.

    Attributes:
        opening: makes sessions.
        recording: records facts of them.
        watches: who is told of what is recorded.

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
        self._facts_per_session = options.facts_per_session
        self.watches = Watches()
        catching_up = None if journal.others is None else CatchingUp(journal.others, self.watches)
        self._sessions = SessionCache(self._load, options.cached_sessions, self.watches.__contains__, catching_up)
        if catching_up is not None:
            catching_up.follow(self._sessions.get)
        defaults = Defaults(options.temperament, options.keep_text)
        self.opening = Opening(journal, self._sessions, temperaments, clock, defaults)
        self.recording = Recording(Writes(journal, self._sessions, self.watches, options.facts_per_session), clock)

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
        return session.state(*self._place(session, turn_id, as_of_ns))

    async def explain(self, session_id: str, turn_id: str | None, as_of_ns: int | None, limit: int) -> Explanation:
        """Return what the state at a turn (None: the tip) and a moment (None: now) is made of, at most `limit` stimuli apart.

        Raises:
            SessionNotFoundError, TurnNotFoundError: there is none.
        """
        session = await self._sessions.get(session_id)
        turn, moment_ns = self._place(session, turn_id, as_of_ns)
        timeline, temperament = session.timeline, session.temperament
        state = timeline.state(turn, moment_ns)
        seen = session.read(state, turn, moment_ns)
        felt = timeline.felt(turn, moment_ns)
        ages = [timeline.elapsed_s(stimulus.key[0], moment_ns) for _, stimulus in felt]
        breakdown = await asyncio.to_thread(break_down, temperament, state, felt, ages, limit)
        age_of = {stimulus.key[1]: age for (_, stimulus), age in zip(felt, ages, strict=True)}
        stimuli = await self._journal.stimuli(session_id, [one.stimulus_id for one in breakdown.largest])
        said = dict.fromkeys(one.turn_id for one in breakdown.largest if one.turn_id)
        turns = await self._journal.turns(session_id, said)
        return Explanation(
            state=seen,
            temperament=temperament,
            breakdown=breakdown,
            axes={
                fact.stimulus_id: axis_shares(temperament, state, fact.cause, age_of[fact.stimulus_id])
                for fact in stimuli
            },
            words={turn.turn_id: turn.text for turn in turns},
        )

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

    def _place(self, session: Session, turn_id: str | None, as_of_ns: int | None) -> tuple[str, int]:
        turn = session.tip.turn_id if turn_id is None else turn_id
        if turn not in session.timeline:
            raise TurnNotFoundError("turn_id", turn)
        return turn, session.present_ns(turn, self._clock.now_ns()) if as_of_ns is None else as_of_ns

    async def _temperament(self, command: ReplaySession) -> Temperament | None:
        if command.temperament_text is not None:
            try:
                return await asyncio.to_thread(parse_temperament, "given", command.temperament_text, "the text given")
            except TemperamentError as error:
                raise InvalidArgumentError("temperament_text", f"{error.key}: {error.reason}") from None
        return None if command.temperament is None else self._temperaments.named(command.temperament)

    async def _load(self, session_id: str) -> Session | None:
        started = self._clock.monotonic()
        log = await self._journal.load(session_id)
        if log is None:
            return None
        session = await asyncio.to_thread(Session.of, log, self._temperaments)
        metrics.SESSION_LOADS.observe(self._clock.monotonic() - started)
        return session
