"""The engine and the head as a visitor sees them: sessions by the visitor's own names."""

from __future__ import annotations

from collections.abc import AsyncIterator, Generator
from dataclasses import replace
from typing import Any

from gateway.access.access import Access
from gateway.access.holdings import Holdings
from gateway.access.visitor import Visitor
from gateway.events import AffectKnown, LateAffect, StateKnown, TurnDone, TurnEvent
from gateway.ports import AffectPort
from limbic.affect.v1 import affect_pb2
from limbic.state.v1 import state_pb2


class SeenStub:
    """A service's stub. Sessions are translated on the way in and out.

    Args:
        stub: the generated one.
        access: knows who asks.
        charges: whether its calls make a model compute.
    """

    def __init__(self, stub: Any, access: Access, *, charges: bool = False) -> None:
        self._stub = stub
        self._access = access
        self._charges = charges

    def __getattr__(self, method: str) -> Any:
        """Return the method of this name."""
        call = getattr(self._stub, method)

        def begin(request: Any, **options: Any) -> _SeenCall:
            if self._charges:
                self._access.charge_turn()
            visitor = self._access.visitor()
            return _SeenCall(call(visitor.inward(request), **options), visitor)

        return begin


class SeenEngine(SeenStub):
    """The state engine's stub, with sessions counted as they are made and deleted.

    Args:
        stub: the generated one.
        access: knows who asks.
        holdings: counts; None where nobody is counted.
    """

    def __init__(self, stub: Any, access: Access, holdings: Holdings | None) -> None:
        super().__init__(stub, access)
        self._holdings = holdings

    async def CreateSession(self, request: state_pb2.CreateSessionRequest, **options: Any) -> Any:
        """Open a session. Raises TooManySessionsError."""
        visitor = self._access.visitor()
        inside = visitor.inward(request)
        if self._holdings is not None:
            await self._holdings.admit(inside.session_id)
        return visitor.outward(await self._stub.CreateSession(inside, **options))

    async def DeleteSession(self, request: state_pb2.DeleteSessionRequest, **options: Any) -> Any:
        """Delete one."""
        visitor = self._access.visitor()
        inside = visitor.inward(request)
        deleted = await self._stub.DeleteSession(inside, **options)
        if self._holdings is not None:
            await self._holdings.drop(inside.session_id)
        return visitor.outward(deleted)


class _SeenCall:
    """A call that was begun: to be awaited, read or cancelled."""

    def __init__(self, call: Any, visitor: Visitor) -> None:
        self._call = call
        self._visitor = visitor

    def __await__(self) -> Generator[Any, None, Any]:
        return self._answer().__await__()

    async def __aiter__(self) -> AsyncIterator[Any]:
        async for message in self._call:
            yield self._visitor.outward(message)

    def cancel(self) -> None:
        """End it."""
        self._call.cancel()

    async def _answer(self) -> Any:
        return self._visitor.outward(await self._call)


class ChargedHead:
    """The head, for what is asked of it outside of turns.

    Args:
        head: it.
        access: counts.
    """

    def __init__(self, head: AffectPort, access: Access) -> None:
        self._head = head
        self._access = access

    async def classify(self, request: affect_pb2.ClassifyRequest, timeout_s: float) -> affect_pb2.AffectReading:
        """Read an utterance. Raises BackendFailure, TooManyRequestsError."""
        self._access.charge_turn()
        return await self._head.classify(request, timeout_s)


def seen_event(event: TurnEvent, visitor: Visitor) -> TurnEvent:
    """Return an event of a turn as a visitor may see it."""
    if visitor.sees_all:
        return event
    match event:
        case StateKnown():
            return replace(event, state=_copy(event.state, visitor))
        case AffectKnown() | LateAffect():
            return event if event.state is None else replace(event, state=_copy(event.state, visitor))
        case TurnDone():
            return replace(event, trace=replace(event.trace, session_id=visitor.outer(event.trace.session_id)))
    return event


def _copy(state: state_pb2.State, visitor: Visitor) -> state_pb2.State:
    # The original is in the gateway's memory.
    copy = state_pb2.State()
    copy.CopyFrom(state)
    return visitor.outward(copy)
