"""Sees to it that no question about a state holds up the event loop: a fold over much is made in a thread before the question is put."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from typing import TypeVar

from limbic.runtime.clock import Clock
from services.state_engine import metrics
from services.state_engine.looks import Refold
from services.state_engine.session import Session, State

_Result = TypeVar("_Result")


class Folding:
    """See above. Used on the event loop only.

    Args:
        clock: the present.
        executor: where long folds are made; None for the event loop's own threads.
    """

    def __init__(self, clock: Clock, executor: Executor | None = None) -> None:
        self._clock = clock
        self._executor = executor
        self._running: dict[Session, asyncio.Task[None]] = {}

    async def ready(self, session: Session, turn_id: str, moment_ns: int | None = None) -> None:
        """Wait until a session answers at once about a turn and a moment (None: one after all that was felt there).

        After the last look at the session there is no await.
        """
        while not session.timeline.is_near(turn_id, moment_ns):
            running = self._running.get(session)
            if running is None:
                refold = session.timeline.refold(turn_id, moment_ns)
                running = self._running[session] = asyncio.create_task(self._run(session, refold), name="refold")
            # Others may wait for it too, so it outlives a caller that goes away.
            await asyncio.shield(running)

    def moment(self, session: Session, turn_id: str, as_of_ns: int | None) -> int:
        """Return the moment that a caller asks about at a turn for which the session is ready; None stands for now."""
        return session.present_ns(turn_id, self._clock.now_ns()) if as_of_ns is None else as_of_ns

    async def now(self, session: Session, turn_id: str) -> State:
        """Return the state at a turn now: see `Session.state_now`."""
        await self.ready(session, turn_id)
        return session.state_now(turn_id, self._clock.now_ns())

    async def at_tip(self, session: Session) -> State:
        """Return the state at the tip now."""
        while True:
            turn_id = session.tip.turn_id
            await self.ready(session, turn_id)
            if session.tip.turn_id == turn_id:
                return session.state_now(turn_id, self._clock.now_ns())

    async def away(self, work: Callable[[], _Result]) -> _Result:
        """Do something else that takes long in a thread."""
        return await asyncio.get_running_loop().run_in_executor(self._executor, work)

    async def _run(self, session: Session, refold: Refold) -> None:
        try:
            await self.away(refold.run)
            metrics.REFOLDS.inc()
        finally:
            session.timeline.take(refold)
            del self._running[session]
