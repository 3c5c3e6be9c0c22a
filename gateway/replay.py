"""Tells the state engine, once it is back, what waited on disk for it."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable

from gateway.metrics import SPOOL_REJECTED, SPOOL_REPLAYED
from gateway.ports import BackendFailure, Fact, StatePort
from gateway.spool import Spool
from limbic.runtime.logs import get_logger, shown_id
from limbic.state.v1 import state_pb2

_log = get_logger(__name__)

_CALL_S = 5.0
"""The call waits for the engine's connection within this time, so that a fact goes out as soon as the engine is back."""
_FIRST_DELAY_S = 0.1
_MAX_DELAY_S = 5.0
_FAULTS = frozenset({"INTERNAL", "UNKNOWN"})
_MAX_FAULTS = 10
"""A fact that makes the engine fail this often in a row would hold up all others for ever."""


class Replayer:
    """Sends facts one after the other, the oldest first. A fact that was taken already changes nothing: its id says so.

    Args:
        spool: where the facts wait.
        state: the engine. Its calls must wait for the connection.
        sleep: waits between tries.
    """

    def __init__(
        self, spool: Spool, state: StatePort, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    ) -> None:
        self._spool = spool
        self._state = state
        self._sleep = sleep

    async def run(self) -> None:
        """Replay for ever."""
        while True:
            await self._spool.wait_filled()
            try:
                while (fact := await self._spool.first()) is not None:
                    await self._replay(fact)
            except OSError as error:
                _log.error("the spool cannot be read or written; trying again", error=str(error))
                await self._sleep(_MAX_DELAY_S)
                self._spool.look_again()

    async def _replay(self, fact: Fact) -> None:
        delay_s, faults = _FIRST_DELAY_S, 0
        while True:
            try:
                await self._state.record(fact, _CALL_S)
            except BackendFailure as failure:
                faults += failure.code in _FAULTS
                if _is_satisfied(fact, failure):
                    break
                if not failure.may_pass or faults >= _MAX_FAULTS:
                    _log.error(
                        "a spooled fact was refused and is set aside",
                        kind=fact.DESCRIPTOR.name,
                        session_id=shown_id(fact.session_id),
                        code=failure.code,
                        reason=failure.reason,
                    )
                    SPOOL_REJECTED.inc()
                    await self._spool.reject(fact)
                    return
                await self._sleep(max(failure.retry_after or 0.0, random.uniform(delay_s / 2, delay_s)))
                delay_s = min(delay_s * 2, _MAX_DELAY_S)
            else:
                break
        SPOOL_REPLAYED.inc()
        await self._spool.done(fact)


def _is_satisfied(fact: Fact, failure: BackendFailure) -> bool:
    """Tell whether a refusal means that what the fact wants is the case: a session that is there need not be created."""
    return isinstance(fact, state_pb2.CreateSessionRequest) and failure.code == "ALREADY_EXISTS"
