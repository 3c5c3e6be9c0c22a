"""The conversation as a tree: fork, rewind, retraction."""

from __future__ import annotations

import asyncio
from pathlib import Path

import grpc

from limbic.runtime.settings import StateSettings
from limbic.state.v1 import state_pb2
from tests.state_engine.calls import abandoned, added, felt, opened, said, state_at
from tests.state_engine.parts import Running, SetClock, refused, running_engine, values


def fork(turn_id: str = "", new: str = "f", session: str = "s") -> state_pb2.ForkRequest:
    return state_pb2.ForkRequest(session_id=session, turn_id=turn_id, new_session_id=new)


def rewind(turn_id: str, rewind_id: str = "") -> state_pb2.RewindRequest:
    return state_pb2.RewindRequest(session_id="s", turn_id=turn_id, rewind_id=rewind_id)


def retract(stimulus_id: str) -> state_pb2.RetractStimulusRequest:
    return state_pb2.RetractStimulusRequest(session_id="s", stimulus_id=stimulus_id)


async def a_conversation(engine: Running) -> None:
    """Three turns in a row and a sibling of the last."""
    await opened(engine)
    for number, valence in enumerate((-0.8, 0.5, 0.1)):
        engine.clock.pass_s(60)
        await said(engine, f"t{number}", felt(f"f{number}", valence), parent=f"t{number - 1}" if number else "")
    await said(engine, "sibling", felt("g", -0.3), parent="t1")
    engine.clock.pass_s(60)


async def test_a_fork_begins_with_the_path_and_nothing_else(engine: Running) -> None:
    await a_conversation(engine)

    forked = await engine.stub.Fork(fork("t2"))

    assert not forked.existed
    assert (forked.session.session_id, forked.session.tip_turn_id) == ("f", "t2")
    assert (forked.session.forked_from_session_id, forked.session.forked_from_turn_id) == ("s", "t2")
    assert values(forked.state) == values(await state_at(engine, "t2"))
    listed = await engine.stub.ListTurns(state_pb2.ListTurnsRequest(session_id="f"))
    assert [turn.turn_id for turn in listed.turns] == ["t0", "t1", "t2"]
    original = await engine.stub.ListTurns(state_pb2.ListTurnsRequest(session_id="s", path_to_turn_id="t2"))
    assert listed.turns == original.turns


async def test_a_fork_and_its_origin_feel_nothing_of_each_other(engine: Running) -> None:
    await a_conversation(engine)
    await engine.stub.Fork(fork("t2"))
    before = values(await state_at(engine, "t2"))

    await added(engine, felt("late"), "t0")
    changed = values(await state_at(engine, "t2"))
    in_the_fork = values(await state_at(engine, session="f"))
    await added(engine, felt("late", 0.9, -0.9), "t1", session="f")

    assert in_the_fork == before != changed
    assert values(await state_at(engine, "t2")) == changed
    assert values(await state_at(engine, session="f")) not in (before, changed)


async def test_forking_again_is_one_fork_and_another_origin_is_refused(engine: Running) -> None:
    await a_conversation(engine)
    responses = await asyncio.gather(*(engine.stub.Fork(fork("t1")) for _ in range(8)))

    assert sorted(response.existed for response in responses) == [False] + [True] * 7
    assert (await engine.stub.Fork(fork())).existed, "the tip was left to the engine, so it is not compared"
    await opened(engine, "other")
    for request, what in (
        (fork("t2"), "turn_id"),
        (fork(session="other"), "origin"),
        (fork(new="other"), "origin"),
        (fork(new="s"), "origin"),
    ):
        failure = await refused(engine.stub.Fork(request))
        assert (failure.code, failure.reason) == (grpc.StatusCode.ALREADY_EXISTS, "SESSION_EXISTS")
        assert failure.metadata["field"] == what


async def test_what_is_not_there_cannot_be_forked(engine: Running) -> None:
    await opened(engine)

    nowhere = await refused(engine.stub.Fork(fork(session="nowhere")))
    no_turn = await refused(engine.stub.Fork(fork("nowhere")))

    assert (nowhere.code, nowhere.reason) == (grpc.StatusCode.NOT_FOUND, "SESSION_NOT_FOUND")
    assert (no_turn.code, no_turn.reason) == (grpc.StatusCode.NOT_FOUND, "TURN_NOT_FOUND")
    # The id that was to be used is free.
    assert not (await opened(engine, "f")).existed


async def test_a_fork_takes_along_pauses_and_what_was_taken_back(engine: Running) -> None:
    await a_conversation(engine)
    await engine.stub.RetractStimulus(retract("f0"))
    await engine.stub.Pause(state_pb2.PauseRequest(session_id="s"))
    engine.clock.pass_s(3_600)

    forked = await engine.stub.Fork(fork("t2"))
    engine.clock.pass_s(3_600)

    assert forked.session.paused
    assert values(await state_at(engine, session="f")) == values(forked.state) == values(await state_at(engine, "t2"))
    request = state_pb2.AddStimulusRequest(session_id="f", turn_id="t0", stimulus=felt("f0"))
    assert (await engine.stub.AddStimulus(request)).duplicate


async def test_a_fork_reads_the_same_after_a_restart_and_without_its_origin_in_memory(
    journal_path: Path, clock: SetClock
) -> None:
    async with running_engine(journal_path, clock) as engine:
        await a_conversation(engine)
        forked = await engine.stub.Fork(fork("sibling"))

    async with running_engine(journal_path, clock) as engine:
        assert await state_at(engine, session="f") == forked.state
        again = await engine.stub.Fork(fork("sibling"))
        assert (again.existed, again.session) == (True, forked.session)


async def test_a_fork_of_the_root_has_no_turns(engine: Running) -> None:
    await opened(engine)
    await engine.stub.AddStimulus(state_pb2.AddStimulusRequest(session_id="s", stimulus=felt("root")))

    forked = await engine.stub.Fork(fork())

    assert forked.session.tip_turn_id == ""
    assert values(forked.state) == values(await state_at(engine))


async def test_a_rewind_moves_the_tip_and_marks_what_it_leaves(engine: Running) -> None:
    await a_conversation(engine)
    at_t0 = await state_at(engine, "t0")

    response = await engine.stub.Rewind(rewind("t0", "r"))

    assert response.abandoned_turn_ids == ["t1", "t2", "sibling"]
    assert await abandoned(engine) == ["t1", "t2", "sibling"]
    assert (response.state.turn_id, values(response.state)) == ("t0", values(at_t0))
    assert (await state_at(engine)).turn_id == "t0"
    after = await said(engine, "new")
    listed = await engine.stub.ListTurns(state_pb2.ListTurnsRequest(session_id="s", path_to_turn_id="tip"))
    assert [turn.turn_id for turn in listed.turns] == ["t0", "new"]
    assert values(after) == values(at_t0)
    # What was left is kept, with its state.
    assert values(await state_at(engine, "t2")) != values(at_t0)


async def test_what_the_tip_comes_back_to_is_not_abandoned(engine: Running) -> None:
    await a_conversation(engine)
    await engine.stub.Rewind(rewind(""))
    assert await abandoned(engine) == ["t0", "t1", "t2", "sibling"]

    await engine.stub.Rewind(rewind("t2"))
    assert await abandoned(engine) == ["sibling"]

    await said(engine, "on", parent="sibling")
    assert await abandoned(engine) == []


async def test_a_repeated_rewind_moves_nothing(engine: Running) -> None:
    await a_conversation(engine)
    first = await engine.stub.Rewind(rewind("t1", "r"))
    await said(engine, "new")

    again = await engine.stub.Rewind(rewind("t1", "r"))

    assert again.abandoned_turn_ids == first.abandoned_turn_ids == ["sibling"]
    assert again.state.turn_id == "t1"
    assert (await state_at(engine)).turn_id == "new"
    failure = await refused(engine.stub.Rewind(rewind("t0", "r")))
    assert (failure.code, failure.reason) == (grpc.StatusCode.ALREADY_EXISTS, "REWIND_EXISTS")
    nowhere = await refused(engine.stub.Rewind(rewind("nowhere")))
    assert (nowhere.code, nowhere.reason) == (grpc.StatusCode.NOT_FOUND, "TURN_NOT_FOUND")


async def test_rewinds_outlive_a_restart(journal_path: Path, clock: SetClock) -> None:
    async with running_engine(journal_path, clock) as engine:
        await a_conversation(engine)
        await engine.stub.Rewind(rewind("t0", "r"))

    async with running_engine(journal_path, clock) as engine:
        assert (await state_at(engine)).turn_id == "t0"
        assert await abandoned(engine) == ["t1", "t2", "sibling"]
        again = await engine.stub.Rewind(rewind("t0", "r"))
        assert again.abandoned_turn_ids == ["t1", "t2", "sibling"]
        assert again.state.revision == 10


async def test_what_is_taken_back_has_never_happened(journal_path: Path, clock: SetClock) -> None:
    async with running_engine(journal_path, clock) as engine:
        for session, stimuli in (("s", [felt("f"), felt("g", 0.4)]), ("never", [felt("g", 0.4)])):
            await opened(engine, session)
            await said(engine, "t", *stimuli, session=session)
            await said(engine, "u", felt("h"), session=session)
        clock.pass_s(30)

        taken_back = await engine.stub.RetractStimulus(retract("f"))
        again = await engine.stub.RetractStimulus(retract("f"))
        at_tip = values(await state_at(engine, session="never"))

        assert (taken_back.duplicate, again.duplicate) == (False, True)
        assert again.state.revision == taken_back.state.revision
        assert values(taken_back.state) == at_tip
        # It stays taken back, though its reading comes again.
        repeated = state_pb2.AddStimulusRequest(session_id="s", turn_id="t", stimulus=felt("f"))
        assert (await engine.stub.AddStimulus(repeated)).duplicate
        listed = await engine.stub.ListTurns(state_pb2.ListTurnsRequest(session_id="s"))
        assert [one.stimulus_id for one in listed.turns[0].stimuli] == ["g"]

    async with running_engine(journal_path, clock) as engine:
        assert values(await state_at(engine)) == at_tip
        failure = await refused(engine.stub.RetractStimulus(retract("nowhere")))
        assert (failure.code, failure.reason) == (grpc.StatusCode.NOT_FOUND, "STIMULUS_NOT_FOUND")


async def test_every_kind_of_fact_counts_towards_the_limit(journal_path: Path, clock: SetClock) -> None:
    async with running_engine(journal_path, clock, StateSettings(facts_per_session=2)) as engine:
        await opened(engine)
        await engine.stub.Rewind(rewind("", "r"))

        for call in (
            engine.stub.Rewind(rewind("", "r2")),
            engine.stub.Pause(state_pb2.PauseRequest(session_id="s")),
        ):
            assert (await refused(call)).reason == "LIMIT_EXCEEDED"
