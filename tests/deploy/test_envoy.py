"""Three heads and two engines behind Envoy, and one of each killed."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest

from limbic.affect.v1 import affect_pb2, affect_pb2_grpc
from limbic.runtime.channels import open_channel
from limbic.state.v1 import state_pb2, state_pb2_grpc
from tests.deploy.fleet import Fleet, Member
from tests.end_to_end.stack import eventually, free_ports
from tests.state_engine.postgres import PostgresServer

CALLERS = 8
SESSION = "shared"


@pytest.fixture
async def fleet(tmp_path: Path) -> AsyncIterator[Fleet]:
    server = PostgresServer()
    url = server.new_database()
    heads = [Member("services.affect_head", "AFFECT", tmp_path / f"head-{i}", free_ports(2)) for i in range(3)]
    engines = [
        Member("services.state_engine", "STATE", tmp_path / f"engine-{i}", free_ports(2), JOURNAL_URL=url)
        for i in range(2)
    ]
    try:
        async with Fleet(tmp_path, {"affect-head": heads, "state-engine": engines}) as running:
            yield running
    finally:
        server.remove()


async def test_calls_are_spread_and_a_killed_head_costs_at_most_what_it_was_reading(fleet: Fleet) -> None:
    heads = fleet.backends["affect-head"]
    async with open_channel(fleet.target("affect-head")) as channel:
        stub = affect_pb2_grpc.AffectHeadServiceStub(channel)
        failures: list[str] = []

        async def read(number: int) -> None:
            request = affect_pb2.ClassifyRequest(text=f"I have thought about you {number} times today.")
            try:
                await stub.Classify(request, timeout=30)
            except grpc.aio.AioRpcError as error:
                failures.append(f"{error.code().name}: {error.details()}")

        async def read_many(count: int) -> None:
            for number in range(count):
                await read(number)

        await asyncio.gather(*(read_many(10) for _ in range(CALLERS)))
        assert failures == []
        shares = [head.answered("Classify") for head in heads]
        assert sum(shares) == CALLERS * 10
        assert min(shares) >= CALLERS

        heads[0].process.kill()
        await asyncio.gather(*(read_many(10) for _ in range(CALLERS)))
        # Each caller had one call under way at most; whoever calls later is served by the others.
        assert len(failures) <= CALLERS, failures
        assert all(failure.startswith("UNAVAILABLE") for failure in failures)
        assert sum(head.answered("Classify") for head in heads[1:]) == sum(shares[1:]) + CALLERS * 10 - len(failures)


async def test_two_engines_behind_one_name_are_one_engine(fleet: Fleet) -> None:
    engines = fleet.backends["state-engine"]
    async with open_channel(fleet.target("state-engine")) as channel:
        stub = state_pb2_grpc.StateEngineServiceStub(channel)
        await stub.CreateSession(state_pb2.CreateSessionRequest(session_id=SESSION), timeout=30)
        acknowledged: list[str] = []

        async def told(turn_id: str) -> bool:
            event = state_pb2.Event(name="affection", intensity=0.5)
            stimulus = state_pb2.Stimulus(stimulus_id=f"s-{turn_id}", event=event)
            request = state_pb2.RecordTurnRequest(
                session_id=SESSION, turn_id=turn_id, parent_turn_id="", role=state_pb2.ROLE_USER, stimuli=[stimulus]
            )
            try:
                await stub.RecordTurn(request, timeout=10)
            except grpc.aio.AioRpcError as error:
                if error.code() not in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
                    raise
                return False
            return True

        async def record(caller: int) -> None:
            for number in range(6):
                turn_id = f"t-{caller}-{number}"
                if (caller, number) == (0, 3):
                    engines[0].process.kill()
                # The id is the idempotency key: a call that broke off is made again, and nothing is felt twice.
                await eventually(f"{turn_id} to be recorded", functools.partial(told, turn_id))
                acknowledged.append(turn_id)

        await asyncio.gather(*(record(caller) for caller in range(CALLERS)))
        assert len(acknowledged) == CALLERS * 6
        assert engines[1].answered("RecordTurn") > 0
        listed = await stub.ListTurns(state_pb2.ListTurnsRequest(session_id=SESSION, page_size=1_000), timeout=30)
        assert sorted(turn.turn_id for turn in listed.turns) == sorted(acknowledged)
