"""Several engines on one database: whoever is asked, the answer is that of one engine."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import grpc
import psycopg
import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from limbic.runtime.channels import open_channel
from limbic.state.v1 import state_pb2, state_pb2_grpc
from tests.state_engine.calls import abandoned, added, felt, opened, pause, said, state_at
from tests.state_engine.parts import Running, SetClock, reading, refused, running_engine
from tests.state_engine.postgres import PostgresServer
from tests.state_engine.processes import ANSWER_S, engine_process, until_serving

CALLERS = 16
TURNS_EACH = 25


@pytest.fixture
def url(postgres: PostgresServer) -> str:
    return postgres.new_database()


@pytest.fixture
async def two(url: str, clock: SetClock) -> AsyncIterator[tuple[Running, Running]]:
    async with running_engine(url, clock) as one, running_engine(url, clock) as other:
        yield one, other


async def test_what_one_has_acknowledged_the_other_knows(two: tuple[Running, Running]) -> None:
    one, other = two
    await opened(one)
    assert (await opened(other)).existed
    for number in range(8):
        told, asked = (one, other) if number % 2 else (other, one)
        state = await said(told, f"t{number}", felt(f"f{number}"))
        assert await state_at(asked) == state
        assert state.revision == 3 + 2 * number
    # A late reading, its retraction, a branch and a rewind, each where the other one stands.
    state = await added(other, felt("late"), "t2")
    assert await state_at(one) == state
    retract = state_pb2.RetractStimulusRequest(session_id="s", stimulus_id="late")
    state = (await one.stub.RetractStimulus(retract)).state
    assert await state_at(other) == state
    await said(other, "branch", felt("g"), parent="t3")
    rewound = await one.stub.Rewind(state_pb2.RewindRequest(session_id="s", turn_id="t2"))
    assert list(rewound.abandoned_turn_ids) == await abandoned(other) == ["t3", "t4", "t5", "t6", "t7", "branch"]
    assert (await state_at(one)).turn_id == "t2"


async def test_the_same_id_at_both_is_felt_once_and_the_first_stands(two: tuple[Running, Running]) -> None:
    one, other = two
    await asyncio.gather(*(opened(engine, f"s{number}") for number in range(10) for engine in two))
    for number in range(10):
        session = f"s{number}"
        request = state_pb2.RecordTurnRequest(
            session_id=session, turn_id="t", parent_turn_id="", text="words", stimuli=[felt("f")]
        )
        different = state_pb2.RecordTurnRequest(session_id=session, turn_id="t", parent_turn_id="", text="others")
        calls = [engine.stub.RecordTurn(request) for engine in two for _ in range(3)]
        answers = await asyncio.gather(*calls)
        assert sorted(answer.duplicate for answer in answers) == [False] + [True] * 5
        for engine in two:
            assert (await refused(engine.stub.RecordTurn(different))).reason == "TURN_EXISTS"
        assert await state_at(one, session=session) == await state_at(other, session=session)


async def test_a_watcher_sees_what_the_other_engine_records(two: tuple[Running, Running]) -> None:
    one, other = two
    await opened(one)
    call = other.stub.WatchState(state_pb2.WatchStateRequest(session_id="s", interval=Duration(seconds=3_600)))
    assert (await seen(call)).state.revision == 1

    await said(one, "t", felt("f"))
    assert (await seen(call)).cause_turn_id == "t"
    await one.stub.Pause(pause())
    assert (await seen(call)).state == await state_at(one)
    await one.stub.DeleteSession(state_pb2.DeleteSessionRequest(session_id="s"))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await seen(call)
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


async def seen(
    call: grpc.aio.UnaryStreamCall[state_pb2.WatchStateRequest, state_pb2.WatchStateResponse],
) -> state_pb2.WatchStateResponse:
    message = await asyncio.wait_for(call.read(), ANSWER_S)
    assert isinstance(message, state_pb2.WatchStateResponse), "the stream has ended"
    return message


async def test_a_session_that_is_deleted_and_opened_again_is_another_one_for_both(two: tuple[Running, Running]) -> None:
    one, other = two
    await opened(one)
    for number in range(5):
        await said(one, f"t{number}", felt(f"f{number}"))
    old = await state_at(other)
    assert (await other.stub.DeleteSession(state_pb2.DeleteSessionRequest(session_id="s"))).deleted_facts == 11
    assert (await refused(one.stub.GetState(state_pb2.GetStateRequest(session_id="s")))).reason == "SESSION_NOT_FOUND"
    await opened(other, temperament="predecessor")
    for number in range(5, 10):
        await said(other, f"t{number}", felt(f"f{number}"))

    state = await state_at(one)
    assert (state.turn_id, state.revision) == ("t9", old.revision)
    assert state == await state_at(other)
    assert (
        await refused(one.stub.GetState(state_pb2.GetStateRequest(session_id="s", turn_id="t4")))
    ).reason == "TURN_NOT_FOUND"
    await said(one, "t10", parent="t9")


async def test_an_engine_that_cannot_ask_says_so_and_goes_on_by_itself(clock: SetClock) -> None:
    server = PostgresServer()
    try:
        async with running_engine(server.new_database(), clock) as engine:
            await opened(engine)
            await said(engine, "t", felt("f"))
            before = await state_at(engine)
            await asyncio.to_thread(server.stop)
            for call in (
                engine.stub.GetState(state_pb2.GetStateRequest(session_id="s")),
                engine.stub.RecordTurn(state_pb2.RecordTurnRequest(session_id="s", turn_id="u", text="words")),
            ):
                failure = await refused(call)
                assert (failure.code, failure.reason) == (grpc.StatusCode.UNAVAILABLE, "JOURNAL_UNAVAILABLE")
                assert failure.retry_after
            await asyncio.to_thread(server.start)
            assert await answered(lambda: state_at(engine)) == before
            await answered(lambda: said(engine, "u", felt("g")))
    finally:
        server.remove()


async def answered(call: Callable[[], object]) -> object:
    """Return the answer of a call that may be refused as unavailable for a while."""
    async with asyncio.timeout(ANSWER_S):
        while True:
            try:
                return await call()  # type: ignore[misc]
            except grpc.aio.AioRpcError as error:
                if error.code() is not grpc.StatusCode.UNAVAILABLE:
                    raise
                await asyncio.sleep(0.05)


def requests(number: int) -> list[state_pb2.RecordTurnRequest]:
    """Return what one caller says, with its own moments: a chain that branches off the callers' common turn."""
    base = 1_700_000_000
    chain = []
    for index in range(TURNS_EACH):
        name = f"c{number}-{index}"
        request = state_pb2.RecordTurnRequest(
            session_id="s",
            turn_id=name,
            parent_turn_id=f"c{number}-{index - 1}" if index else "common",
            occurred_at=Timestamp(seconds=base + 60 * index, nanos=number),
            text="words",
        )
        request.stimuli.add(
            stimulus_id=name,
            reading=reading(valence=-0.01 * (number + index), tension=0.3),
            occurred_at=request.occurred_at,
        )
        chain.append(request)
    return chain


@asynccontextmanager
async def process_stub(
    folder: Path, name: str, **extra: str
) -> AsyncIterator[state_pb2_grpc.StateEngineServiceAsyncStub]:
    async with engine_process(folder, name, **extra), open_channel(f"unix:{folder / name}.socket") as channel:
        await until_serving(channel)
        yield state_pb2_grpc.StateEngineServiceStub(channel)


async def test_two_processes_on_one_session_at_once_come_to_the_state_of_one(tmp_path: Path, url: str) -> None:
    async with AsyncExitStack() as stack:
        one, other, alone = [
            await stack.enter_async_context(process_stub(tmp_path, name, **extra))
            for name, extra in (
                ("one", {"LIMBIC_STATE__JOURNAL_URL": url}),
                ("other", {"LIMBIC_STATE__JOURNAL_URL": url}),
                ("alone", {}),
            )
        ]
        chains = [requests(number) for number in range(CALLERS)]
        common = state_pb2.RecordTurnRequest(
            session_id="s",
            turn_id="common",
            parent_turn_id="",
            text="words",
            occurred_at=Timestamp(seconds=1_699_999_000),
        )
        for stub in (one, alone, other):
            create = state_pb2.CreateSessionRequest(session_id="s")
            await stub.CreateSession(create, timeout=ANSWER_S)
            await stub.RecordTurn(common, timeout=ANSWER_S)
        dice = random.Random(20)

        async def caller(chain: list[state_pb2.RecordTurnRequest]) -> None:
            for request in chain:
                # Now here, now there; at times at both at once, as a retry after a lost answer would.
                stubs = [one, other] if dice.random() < 0.2 else [dice.choice((one, other))]
                answers = await asyncio.gather(*(stub.RecordTurn(request, timeout=ANSWER_S) for stub in stubs))
                assert sorted(answer.duplicate for answer in answers) == [False, True][: len(stubs)]
                asked = dice.choice((one, other))
                read = state_pb2.GetStateRequest(session_id="s", turn_id=request.turn_id)
                state = (await asked.GetState(read, timeout=ANSWER_S)).state
                assert state.revision >= answers[0].state.revision

        await asyncio.gather(*map(caller, chains))
        # One engine gets the same in another order.
        for request in sorted((one for chain in chains for one in chain), key=lambda one: one.occurred_at.seconds):
            await alone.RecordTurn(request, timeout=ANSWER_S)

        for chain in chains:
            for request in (chain[0], chain[TURNS_EACH // 2], chain[-1]):
                read = state_pb2.GetStateRequest(
                    session_id="s", turn_id=request.turn_id, as_of=Timestamp(seconds=1_700_100_000)
                )
                states = [(await stub.GetState(read, timeout=ANSWER_S)).state for stub in (one, other, alone)]
                assert states[0] == states[1] == states[2]
                assert states[0].revision == 2 + 2 * CALLERS * TURNS_EACH
    with psycopg.connect(url) as connection:
        rows = connection.execute("SELECT count(*), count(DISTINCT turn_id) FROM turns").fetchone()
    assert rows == (1 + CALLERS * TURNS_EACH, 1 + CALLERS * TURNS_EACH)
