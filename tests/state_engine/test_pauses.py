"""A session's own clock, through the calls."""

from __future__ import annotations

from pathlib import Path

import grpc

from limbic.state.v1 import state_pb2
from tests.state_engine.calls import added, felt, opened, pause, resume, said, state_at
from tests.state_engine.parts import Running, SetClock, refused, running_engine, values

YEAR_S = 365 * 86_400


async def test_a_session_paused_for_a_year_reads_as_it_did(journal_path: Path, clock: SetClock) -> None:
    async with running_engine(journal_path, clock) as engine:
        await opened(engine)
        before = await said(engine, "t", felt("f"))
        paused = await engine.stub.Pause(pause())
        clock.pass_s(YEAR_S)
        during = await state_at(engine)

    async with running_engine(journal_path, clock) as engine:
        after_restart = await state_at(engine)
        resumed = await engine.stub.Resume(resume())
        clock.pass_s(60)
        later = await state_at(engine)

    for state in (paused.state, during, after_restart, resumed.state):
        assert values(state) == values(before)
    assert values(later)["cortisol"] < values(before)["cortisol"]


async def test_a_pause_that_is_announced_late_counts_from_its_beginning(engine: Running) -> None:
    for session in ("s", "on-time"):
        await opened(engine, session)
        await said(engine, "t", felt("f"), session=session)
    engine.clock.pass_s(60)
    since = engine.clock.timestamp()
    await engine.stub.Pause(pause("on-time", "p"))
    engine.clock.pass_s(600)
    await said(engine, "u", felt("g"), session="s")
    await said(engine, "u", felt("g"), session="on-time")
    engine.clock.pass_s(600)
    until = engine.clock.timestamp()
    await engine.stub.Resume(resume("on-time", "p"))
    engine.clock.pass_s(60)

    await engine.stub.Pause(pause("s", "p", since))
    await engine.stub.Resume(resume("s", "p", until))

    assert values(await state_at(engine)) == values(await state_at(engine, session="on-time"))
    assert values(await state_at(engine, "t")) == values(await state_at(engine, "t", session="on-time"))


async def test_what_is_felt_in_a_pause_fades_only_after_it(engine: Running) -> None:
    await opened(engine)
    await said(engine, "t")
    await engine.stub.Pause(pause())
    engine.clock.pass_s(100)
    at_once = await added(engine, felt("f"), "t")
    engine.clock.pass_s(YEAR_S)

    assert values(await state_at(engine)) == values(at_once)


async def test_the_past_reads_as_it_was_across_pauses(engine: Running) -> None:
    await opened(engine)
    await said(engine, "t", felt("f"))
    engine.clock.pass_s(60)
    moment, then = engine.clock.timestamp(), await state_at(engine)
    await engine.stub.Pause(pause())
    engine.clock.pass_s(1_000)
    await engine.stub.Resume(resume())
    engine.clock.pass_s(1_000)

    assert values(await state_at(engine, as_of=moment)) == values(then)


async def test_pausing_and_resuming_again_changes_nothing(engine: Running) -> None:
    await opened(engine)
    await said(engine, "t", felt("f"))
    first = await engine.stub.Pause(pause(pause_id="p"))
    engine.clock.pass_s(10)
    again = await engine.stub.Pause(pause(pause_id="p"))
    ended = await engine.stub.Resume(resume(pause_id="p"))
    end = engine.clock.timestamp()
    engine.clock.pass_s(10)
    ended_again = await engine.stub.Resume(resume(pause_id="p", since=end))
    none_open = await engine.stub.Resume(resume())

    assert first.pause_id == again.pause_id == "p"
    assert again.state.revision == first.state.revision
    assert ended.state.revision == ended_again.state.revision == none_open.state.revision
    assert values(ended_again.state)["cortisol"] < values(ended.state)["cortisol"]


async def test_a_session_says_whether_it_is_paused(engine: Running) -> None:
    await opened(engine)
    named = await engine.stub.Pause(pause())
    await engine.stub.Pause(pause(pause_id="another"))
    assert named.pause_id
    assert (await opened(engine)).session.paused

    await engine.stub.Resume(resume(pause_id="another"))
    assert (await opened(engine)).session.paused

    await engine.stub.Resume(resume())
    assert not (await opened(engine)).session.paused


async def test_a_pause_id_that_means_something_else_is_refused_and_the_first_stands(engine: Running) -> None:
    await opened(engine)
    await engine.stub.Pause(pause(pause_id="p"))
    other = engine.clock.timestamp(-5)

    began = await refused(engine.stub.Pause(pause(pause_id="p", since=other)))
    before = await refused(engine.stub.Resume(resume(pause_id="p", since=other)))
    unnamed = await refused(engine.stub.Resume(resume(since=other)))
    engine.clock.pass_s(10)
    await engine.stub.Resume(resume(pause_id="p"))
    ended = await refused(engine.stub.Resume(resume(pause_id="p", since=engine.clock.timestamp(-1))))
    nowhere = await refused(engine.stub.Resume(resume(pause_id="nowhere")))

    assert (began.code, began.reason) == (grpc.StatusCode.ALREADY_EXISTS, "PAUSE_EXISTS")
    assert (ended.code, ended.reason) == (grpc.StatusCode.ALREADY_EXISTS, "PAUSE_EXISTS")
    assert before.code is unnamed.code is grpc.StatusCode.INVALID_ARGUMENT
    assert before.message.startswith("from:")
    assert (nowhere.code, nowhere.reason) == (grpc.StatusCode.NOT_FOUND, "PAUSE_NOT_FOUND")


async def test_a_pause_in_the_future_is_refused(engine: Running) -> None:
    await opened(engine)

    failure = await refused(engine.stub.Pause(pause(since=engine.clock.timestamp(60))))

    assert failure.code is grpc.StatusCode.INVALID_ARGUMENT
    assert failure.message.startswith("from:")


async def test_a_host_that_pauses_a_moment_ahead_of_us_can_resume_at_once(engine: Running) -> None:
    await opened(engine)
    await engine.stub.Pause(pause(since=engine.clock.timestamp(1.5)))

    await engine.stub.Resume(resume())

    assert not (await opened(engine)).session.paused
    assert (await engine.stub.GetState(state_pb2.GetStateRequest(session_id="s"))).state.revision == 3
