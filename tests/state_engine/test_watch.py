"""Live panels: each fact at once, time in between, a slow reader, the end."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration

from limbic.runtime.channels import open_channel
from limbic.runtime.errors import failure_of
from limbic.runtime.settings import StateSettings
from limbic.state.v1 import state_pb2, state_pb2_grpc
from services.state_engine.journal import sqlite_file
from services.state_engine.watches import Watches
from tests.state_engine.calls import felt, opened, pause, said, state_at
from tests.state_engine.parts import Running, SetClock, running_engine, values

FACTS = 800
"""More than a connection has room for: a message has about 700 bytes, and a window some 64 KiB."""

HOUR = Duration(seconds=3_600)


def watching(
    engine: Running, session: str = "s", interval: Duration = HOUR
) -> grpc.aio.UnaryStreamCall[state_pb2.WatchStateRequest, state_pb2.WatchStateResponse]:
    return engine.stub.WatchState(state_pb2.WatchStateRequest(session_id=session, interval=interval))


async def next_of(
    call: grpc.aio.UnaryStreamCall[state_pb2.WatchStateRequest, state_pb2.WatchStateResponse],
) -> state_pb2.WatchStateResponse:
    message = await call.read()
    assert isinstance(message, state_pb2.WatchStateResponse), "the stream has ended"
    return message


async def test_each_kind_of_fact_is_seen_at_once(engine: Running) -> None:
    await opened(engine)
    call = watching(engine)
    assert (await next_of(call)).state.revision == 1

    await said(engine, "t", felt("f"))
    seen = await next_of(call)
    assert (seen.cause_turn_id, seen.state) == ("t", await state_at(engine))

    for call_it, turn_id in (
        (lambda: engine.stub.RetractStimulus(state_pb2.RetractStimulusRequest(session_id="s", stimulus_id="f")), "t"),
        (lambda: engine.stub.Rewind(state_pb2.RewindRequest(session_id="s")), ""),
        (lambda: engine.stub.Pause(pause()), ""),
    ):
        await call_it()
        seen = await next_of(call)
        assert (seen.cause_turn_id, seen.state) == (turn_id, await state_at(engine))
    call.cancel()


async def test_time_alone_is_seen_too(engine: Running) -> None:
    await opened(engine)
    await said(engine, "t", felt("f"))
    call = watching(engine, interval=Duration(nanos=100_000_000))
    first = await next_of(call)
    engine.clock.pass_s(60)

    later = await next_of(call)

    assert later.cause_turn_id == ""
    assert values(later.state)["cortisol"] < values(first.state)["cortisol"]
    call.cancel()


async def test_another_sessions_facts_are_not_seen(engine: Running) -> None:
    for session in ("s", "other"):
        await opened(engine, session)
    call = watching(engine)
    await next_of(call)

    await said(engine, "o", felt("o"), session="other")
    await said(engine, "t")

    assert (await next_of(call)).cause_turn_id == "t"
    call.cancel()


async def test_a_slow_reader_gets_the_latest_and_not_what_lay_between() -> None:
    watches = Watches()
    with watches.of("s") as slow, watches.of("s") as quick:
        for turn in ("t1", "t2", "t3"):
            watches.tell("s", turn)
            assert await quick.wait(60.0) == turn

        assert await slow.wait(60.0) == "t3"
        assert await slow.wait(0.0) == ""
        assert "s" in watches
    assert "s" not in watches


async def test_a_client_that_does_not_read_for_a_while_gets_the_latest_and_holds_up_nobody(engine: Running) -> None:
    """Through a real connection, whose windows are full after some of the messages."""
    await opened(engine)
    # Otherwise gRPC makes the windows larger where it finds the connection fast.
    narrow = [("grpc.http2.bdp_probe", 0), ("grpc.http2.lookahead_bytes", 65_535)]
    async with grpc.aio.insecure_channel(engine.target, options=narrow) as channel:
        stub = state_pb2_grpc.StateEngineServiceStub(channel)
        call = stub.WatchState(state_pb2.WatchStateRequest(session_id="s", interval=HOUR))
        assert (await next_of(call)).state.revision == 1
        for number in range(FACTS):
            # One after the other, so that each is a message of its own for somebody who reads.
            await said(engine, f"t{number}", parent="")
        quick = watching(engine)
        assert (await next_of(quick)).state.revision == 1 + FACTS
        quick.cancel()

        seen = [await next_of(call)]
        while seen[-1].state.revision < 1 + FACTS:
            seen.append(await next_of(call))
        call.cancel()

    revisions = [message.state.revision for message in seen]
    assert revisions == sorted(set(revisions)), "none comes twice, none after a later one"
    assert revisions[:20] == list(range(2, 22)), "what the connection had room for came as it was recorded"
    assert len(seen) < FACTS / 2, "and all that it had no room for is one message"
    assert seen[-1].cause_turn_id == f"t{FACTS - 1}"


async def test_watching_reads_no_journal_even_when_the_session_does_not_fit_in_memory(
    journal_path: Path, clock: SetClock
) -> None:
    selects: list[str] = []

    def traced(path: Path) -> sqlite3.Connection:
        connection = sqlite_file.connect(path)
        connection.set_trace_callback(lambda sql: selects.append(sql) if "SELECT" in sql and "turns" in sql else None)
        return connection

    async with running_engine(journal_path, clock, StateSettings(cached_sessions=1), traced) as engine:
        await opened(engine)
        call = watching(engine, interval=Duration(nanos=100_000_000))
        await next_of(call)
        for number in range(5):
            await opened(engine, f"other{number}")
        selects.clear()

        for _ in range(5):
            await next_of(call)

        assert not selects
        call.cancel()


async def test_who_goes_away_is_forgotten_and_no_session_means_no_stream(engine: Running) -> None:
    call = watching(engine, "nowhere")

    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call.read()

    assert failure_of(caught.value).reason == "SESSION_NOT_FOUND"


async def test_a_server_that_goes_down_ends_its_watches_at_once(journal_path: Path, clock: SetClock) -> None:
    running = running_engine(journal_path, clock)
    engine = await running.__aenter__()
    async with open_channel(engine.target) as channel:
        await opened(engine)
        request = state_pb2.WatchStateRequest(session_id="s", interval=HOUR)
        call = state_pb2_grpc.StateEngineServiceStub(channel).WatchState(request)
        await next_of(call)

        await running.__aexit__(None, None, None)

        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call.read()
    assert failure_of(caught.value).reason == "SERVER_DRAINING"
