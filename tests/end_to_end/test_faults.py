from __future__ import annotations

import asyncio
import os
import signal
from contextlib import suppress

import grpc

from limbic.client import CallError, LimbicClient
from limbic.gateway.v1 import gateway_pb2
from limbic.state.v1 import state_pb2
from tests.end_to_end.calls import Calls, levels, now
from tests.end_to_end.stack import POLL_S, Stack, eventually

UNREAD = (gateway_pb2.AFFECT_STATUS_UNAVAILABLE, gateway_pb2.AFFECT_STATUS_FAILED)


async def test_a_head_that_is_killed_in_mid_turn_costs_only_the_feeling(
    stack: Stack, client: LimbicClient, calls: Calls
) -> None:
    await calls.until_well()
    with stack.held("affect-head"):
        async with client.turn("I missed you.", session_id="headless") as turn:
            responses = []
            async for response in turn:
                responses.append(response)
                if response.HasField("state"):
                    killed = stack.kill("affect-head")

    affect = responses[1].affect
    assert affect.status in UNREAD
    assert affect.reason
    assert any(response.HasField("delta") for response in responses)
    assert responses[-1].HasField("done")

    async def another_one() -> bool:
        return stack.pid("affect-head") not in (0, killed)

    await eventually("supervisord starts another head", another_one)
    await calls.until_well()
    async with client.turn("I missed you so much.", session_id="headless") as turn:
        (affect,) = [response.affect async for response in turn if response.HasField("affect")]
    assert affect.status == gateway_pb2.AFFECT_STATUS_IN_WINDOW
    said = [turn for turn in await client.turns("headless") if turn.role == state_pb2.ROLE_USER]
    assert [len(turn.stimuli) for turn in said] == [0, 1]


async def test_a_state_engine_that_is_killed_in_mid_turn_loses_nothing_and_counts_nothing_twice(
    stack: Stack, client: LimbicClient, calls: Calls
) -> None:
    await calls.until_well()
    async with client.turn("Hello, it is me again.", session_id="killed") as turn:
        (degraded,) = [r.done.trace.degraded async for r in turn if r.HasField("done")]
    assert not degraded
    acknowledged = await client.turns("killed")
    assert len(acknowledged) == 2

    async def keep_dead() -> None:
        """Kill it again whenever supervisord has started it: the engine is away for the whole of the turn."""
        while True:
            with suppress(AssertionError, ProcessLookupError):
                stack.kill("state-engine")
            await asyncio.sleep(POLL_S)

    murderer = None
    responses = []
    async with client.turn("I am afraid that something is wrong.", session_id="killed") as turn:
        async for response in turn:
            responses.append(response)
            if response.HasField("state"):
                stack.kill("state-engine")
                murderer = asyncio.create_task(keep_dead())
    assert murderer is not None
    murderer.cancel()
    assert any(response.HasField("delta") for response in responses)
    trace = responses[-1].done.trace
    assert trace.degraded
    assert trace.degraded_reasons

    await calls.until_well()
    turns = await client.turns("killed")
    assert turns[:2] == acknowledged
    said, answered = turns[2:]
    assert (said.turn_id, said.role) == (trace.turn_id, state_pb2.ROLE_USER)
    assert (answered.turn_id, answered.parent_turn_id) == (responses[-1].done.reply_turn_id, said.turn_id)
    assert answered.text == "".join(response.delta.text for response in responses if response.HasField("delta"))
    assert len(said.stimuli) == 1
    await calls.twin(turns, "never-killed")
    as_of = now()
    killed, never = await client.state("killed", as_of=as_of), await client.state("never-killed", as_of=as_of)
    assert killed.revision == never.revision
    assert levels(killed) == levels(never)


async def test_a_gateway_that_is_told_to_end_finishes_its_turns_and_takes_no_new_ones(
    stack: Stack, client: LimbicClient, calls: Calls
) -> None:
    await calls.until_well()
    pid = stack.pid("gateway")

    async def refused() -> CallError | None:
        try:
            async with client.turn("And me?", session_id="too-late") as other:
                async for _ in other:
                    return None
        except CallError as error:
            return error
        return None

    refusal: CallError | None = None
    async with client.turn("Stay until you have said it.", session_id="drained") as turn:
        responses = []
        async for response in turn:
            responses.append(response)
            if response.HasField("delta") and refusal is None:
                # Held, so that the turn is still going on when the others are refused.
                with stack.held("living-llm"):
                    os.kill(pid, signal.SIGTERM)
                    refusal = await eventually("new turns are refused", refused)
    assert refusal is not None
    assert refusal.failure.code is grpc.StatusCode.UNAVAILABLE
    assert responses[-1].HasField("done")

    async def another_one() -> bool:
        return stack.pid("gateway") not in (0, pid)

    await eventually("supervisord starts another gateway", another_one)
    await calls.until_well()
    assert [turn.cut for turn in await client.turns("drained")] == [False, False]
