"""Clients of a gateway and of a state engine, for asyncio and without it.

    async with LimbicClient() as limbic:
        async with limbic.turn("I made it!", session_id="ada-and-me") as turn:
            async for text in turn.text():
                print(text, end="")
        state = await limbic.state("ada-and-me")

    with SyncStateEngineClient("127.0.0.1:50052") as engine:
        engine.add_stimulus("ada-and-me", event("reward", "gift-17", intensity=0.5))
        print(engine.explain("ada-and-me", limit=3))

`GatewayClient` and `StateEngineClient` have a method for each call of their contract, under the call's name; `LimbicClient` holds one of
each, and short forms of what a front end needs. The same names with `Sync` before them are the same without `async` and `await`. Messages
are the contracts' own (`protos/`); nothing is renamed or copied. Times may be given as aware datetimes, spans as seconds. Every call has a
deadline. A call that fails raises a `CallError`. What streams is a block: leaving it ends the call, and a turn's model stops computing.
"""

from limbic.client.aio.calls import TurnStream
from limbic.client.aio.gateway import GatewayClient
from limbic.client.aio.limbic import LimbicClient
from limbic.client.aio.state_engine import StateEngineClient
from limbic.client.errors import CallError
from limbic.client.messages import (
    GATEWAY,
    STATE_ENGINE,
    Moment,
    TurnEvent,
    bearer,
    event,
    event_of,
    reading,
    turn_request,
)
from limbic.client.sync.calls import SyncTurnStream
from limbic.client.sync.gateway import SyncGatewayClient
from limbic.client.sync.limbic import SyncLimbicClient
from limbic.client.sync.state_engine import SyncStateEngineClient

__all__ = [
    "GATEWAY",
    "STATE_ENGINE",
    "CallError",
    "GatewayClient",
    "LimbicClient",
    "Moment",
    "StateEngineClient",
    "SyncGatewayClient",
    "SyncLimbicClient",
    "SyncStateEngineClient",
    "SyncTurnStream",
    "TurnEvent",
    "TurnStream",
    "bearer",
    "event",
    "event_of",
    "reading",
    "turn_request",
]
