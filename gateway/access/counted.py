"""The engine and the spool as turns use them, with sessions counted where they are made."""

from __future__ import annotations

from gateway.access.holdings import Holdings
from gateway.ports import Fact, Recorded, SpoolPort, StatePort
from limbic.state.v1 import state_pb2


class CountedState:
    """The state engine.

    Args:
        state: it.
        holdings: counts.
    """

    def __init__(self, state: StatePort, holdings: Holdings) -> None:
        self._state = state
        self._holdings = holdings

    async def get_state(self, request: state_pb2.GetStateRequest, timeout_s: float) -> state_pb2.State:
        """Read a state."""
        return await self._state.get_state(request, timeout_s)

    async def list_turns(self, request: state_pb2.ListTurnsRequest, timeout_s: float) -> state_pb2.ListTurnsResponse:
        """Read a page of turns, oldest first."""
        return await self._state.list_turns(request, timeout_s)

    async def record(self, fact: Fact, timeout_s: float) -> Recorded:
        """Tell a fact. Raises BackendFailure, TooManySessionsError."""
        if isinstance(fact, state_pb2.CreateSessionRequest):
            await self._holdings.admit(fact.session_id)
        return await self._state.record(fact, timeout_s)

    async def record_turns(self, request: state_pb2.RecordTurnsRequest, timeout_s: float) -> state_pb2.State:
        """Tell several turns in one step; returns the state at the last."""
        return await self._state.record_turns(request, timeout_s)


class CountedSpool:
    """The spool, which takes sessions that are made while the engine is away.

    Args:
        spool: it.
        holdings: counts.
    """

    def __init__(self, spool: SpoolPort, holdings: Holdings) -> None:
        self._spool = spool
        self._holdings = holdings

    def holds(self, session_id: str) -> bool:
        """Tell whether a fact of this session waits."""
        return self._spool.holds(session_id)

    async def append(self, fact: Fact) -> None:
        """Keep a fact. Raises SpoolRefusedError, TooManySessionsError."""
        if isinstance(fact, state_pb2.CreateSessionRequest):
            await self._holdings.admit(fact.session_id)
        await self._spool.append(fact)
