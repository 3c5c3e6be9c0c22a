"""Every call of the state engine, through the clients, against a real one."""

from __future__ import annotations

import asyncio
import socket
from datetime import UTC, datetime, timedelta

import grpc
import pytest

from limbic.affect.v1 import affect_pb2
from limbic.client import CallError, StateEngineClient, SyncStateEngineClient, event, reading
from limbic.state.v1 import state_pb2

HURT = affect_pb2.AffectReading(valence=-0.7, tension=0.6, confidence=0.9)
EARLIER = datetime.now(UTC) - timedelta(hours=1)


async def test_a_conversation_from_its_beginning_to_its_end(address: str) -> None:
    async with StateEngineClient(address) as engine:
        created = await engine.create_session("s", temperament="volatile", keep_text=True)
        assert (created.session.temperament, created.session.keeps_text, created.existed) == ("volatile", True, False)
        said = await engine.record_turn("s", "t1", "You hurt me.", occurred_at=EARLIER, stimuli=[reading("f1", HURT)])
        assert (said.state.turn_id, said.duplicate) == ("t1", False)
        assert (await engine.record_turn("s", "t1", "You hurt me.", occurred_at=EARLIER)).duplicate
        turns = [
            state_pb2.RecordTurnRequest(turn_id=f"t{number}", parent_turn_id=f"t{number - 1}", text="words")
            for number in (2, 3)
        ]
        assert (await engine.record_turns("s", turns)).recorded == 2
        added = await engine.add_stimulus("s", event("reward", "gift", intensity=0.5), turn_id="t2")
        assert added.state.revision == 6
        assert (await engine.retract_stimulus("s", "gift")).state.revision == 7

        now, then = await engine.get_state("s"), await engine.get_state("s", turn_id="t1", as_of=EARLIER)
        assert (now.turn_id, then.turn_id, then.as_of.ToDatetime(UTC)) == ("t3", "t1", EARLIER)
        explained = await engine.explain("s", limit=1)
        assert [one.text for one in explained.contributions] == ["You hurt me."]
        listed = await engine.list_turns("s")
        assert [turn.turn_id for turn in listed] == ["t1", "t2", "t3"]
        assert [turn.turn_id for turn in await engine.list_turns("s", path_to_turn_id="t2")] == ["t1", "t2"]

        forked = await engine.fork("s", turn_id="t2", new_session_id="fork")
        assert forked.session.forked_from_turn_id == "t2"
        assert list((await engine.rewind("s", "t1", rewind_id="r")).abandoned_turn_ids) == ["t2", "t3"]
        paused = await engine.pause("s", since=EARLIER + timedelta(minutes=30))
        resumed = await engine.resume("s", pause_id=paused.pause_id)
        assert resumed.state.revision == 10
        async with engine.replay("s", turn_id="t1", temperament="steady", interval_s=600.0) as points:
            curve = [point async for point in points]
        assert len(curve) > 5
        assert curve[0].recorded != curve[0].replayed
        async with engine.replay("s", moments=[EARLIER, EARLIER + timedelta(minutes=1)]) as points:
            assert len([point async for point in points]) == 2

        async with engine.export_session("s") as lines:
            exported = [line async for line in lines]
        assert len(exported) == 11
        again = await engine.import_session(exported, session_id="copy")
        assert (again.session.session_id, again.facts) == ("copy", 10)
        assert await engine.get_state("copy", as_of=EARLIER) == _as("copy", await engine.get_state("s", as_of=EARLIER))
        assert [await engine.delete_session(one) for one in ("s", "s", "copy")] == [10, 0, 10]


def _as(session_id: str, state: state_pb2.State) -> state_pb2.State:
    renamed = state_pb2.State()
    renamed.CopyFrom(state)
    renamed.session_id = session_id
    return renamed


async def test_the_same_without_an_event_loop(address: str) -> None:
    def live() -> None:
        with SyncStateEngineClient(address) as engine:
            engine.create_session("s", keep_text=False)
            engine.record_turn("s", "t1", "words", stimuli=[reading("f1", HURT)])
            engine.record_turns("s", [state_pb2.RecordTurnRequest(turn_id="t2", parent_turn_id="t1", text="words")])
            engine.add_stimulus("s", event("stress", "e"))
            engine.retract_stimulus("s", "e")
            assert engine.get_state("s").revision == 6
            assert [turn.text for turn in engine.list_turns("s")] == ["", ""]
            assert len(engine.explain("s").contributions) == 1
            assert engine.fork("s", new_session_id="f").session.session_id == "f"
            engine.rewind("s", "")
            engine.pause("s", pause_id="p")
            engine.resume("s")
            with engine.replay("s", turn_id="t2") as points:
                assert [point.cause_turn_id for point in points] == ["t1", "t2"]
            with engine.watch_state("s", interval_s=60.0) as states:
                assert next(states).state.revision == 9
                engine.add_stimulus("s", event("affection", "later"))
                assert next(states).state.revision == 10
            with engine.export_session("s") as lines:
                exported = list(lines)
            assert engine.import_session(exported, session_id="copy").facts == 10
            assert [engine.delete_session(one) for one in ("s", "copy")] == [10, 10]

    await asyncio.to_thread(live)


async def test_what_is_recorded_is_watched_and_leaving_the_block_ends_it(address: str) -> None:
    async with StateEngineClient(address) as engine:
        await engine.create_session("s")
        async with engine.watch_state("s", interval_s=3_600.0) as states:
            assert (await anext(states)).state.revision == 1
            await engine.record_turn("s", "t", "words")
            seen = await anext(states)
        assert (seen.cause_turn_id, seen.state.revision) == ("t", 2)
        # Nobody watches any more, so that the session can go without a word to anybody.
        assert await engine.delete_session("s") == 2


async def test_a_refusal_says_the_code_the_reason_the_field_and_when_to_come_back(address: str) -> None:
    async with StateEngineClient(address) as engine:
        with pytest.raises(CallError) as unknown:
            await engine.get_state("nowhere")
        await engine.create_session("s")
        wrong = affect_pb2.AffectReading(valence=2.0)
        with pytest.raises(CallError) as invalid:
            await engine.record_turn("s", "t", "words", stimuli=[reading("f", wrong)])
        with pytest.raises(CallError) as broken:
            async with engine.replay("nowhere") as points:
                await anext(points)

    error = unknown.value
    assert (error.code, error.reason, error.field) == (grpc.StatusCode.NOT_FOUND, "SESSION_NOT_FOUND", "session_id")
    assert error.retry_after is None
    assert (invalid.value.code, invalid.value.field) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        "stimuli[0].reading.valence",
    )
    assert "must be a number from -1 to 1" in str(invalid.value)
    assert broken.value.reason == "SESSION_NOT_FOUND"


async def test_a_deadline_is_each_calls_own(address: str) -> None:
    # It can be connected to, and says nothing.
    with socket.create_server(("127.0.0.1", 0)) as silent:
        async with StateEngineClient(f"127.0.0.1:{silent.getsockname()[1]}", deadline_s=60.0) as engine:
            with pytest.raises(CallError) as late:
                await engine.get_state("s", deadline_s=0.2)
    async with StateEngineClient(address) as engine:
        await engine.create_session("s")
        async with engine.watch_state("s", interval_s=3_600.0, deadline_s=0.2) as states:
            with pytest.raises(CallError) as ended:
                _ = [state async for state in states]
        with pytest.raises(ValueError, match="must be more than 0"):
            await engine.get_state("s", deadline_s=0.0)

    assert late.value.code is ended.value.code is grpc.StatusCode.DEADLINE_EXCEEDED


async def test_a_server_that_is_not_there_is_an_error_of_the_same_kind() -> None:
    async with StateEngineClient("127.0.0.1:1") as engine:
        with pytest.raises(CallError) as away:
            await engine.create_session("s")

    assert (away.value.code, away.value.reason, away.value.field) == (grpc.StatusCode.UNAVAILABLE, "", "")


async def test_what_goes_wrong_while_lines_are_read_comes_out_as_it_is(address: str) -> None:
    def broken() -> list[str]:
        raise OSError("the disk is gone")

    async def lines() -> object:
        yield "{}"
        broken()

    def read() -> object:
        yield "{}"
        broken()

    async with StateEngineClient(address) as engine:
        with pytest.raises(OSError, match="the disk is gone"):
            await engine.import_session(lines())  # type: ignore[arg-type]
        with pytest.raises(CallError) as refused:
            await engine.import_session(["{}"])

    def without_loop() -> None:
        with SyncStateEngineClient(address) as engine, pytest.raises(OSError, match="the disk is gone"):
            engine.import_session(read())  # type: ignore[arg-type]

    await asyncio.to_thread(without_loop)
    assert refused.value.field == "json_line"


async def test_a_datetime_without_a_zone_is_no_moment(address: str) -> None:
    async with StateEngineClient(address) as engine:
        with pytest.raises(ValueError, match="time zone"):
            await engine.get_state("s", as_of=datetime(2026, 1, 1))
