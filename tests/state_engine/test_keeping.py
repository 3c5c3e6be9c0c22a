"""What is kept: over a restart, beyond the memory, without the words, up to a limit."""

from __future__ import annotations

import asyncio
from pathlib import Path

import grpc

from limbic.runtime.settings import StateSettings
from limbic.state.v1 import state_pb2
from tests.state_engine.calls import felt, opened, state_at, turn
from tests.state_engine.parts import SetClock, refused, running_engine, values


async def test_after_a_restart_the_state_has_the_same_bits(journal_path: Path, clock: SetClock) -> None:
    async with running_engine(journal_path, clock) as engine:
        await opened(engine)
        for number in range(5):
            clock.pass_s(11.1)
            await engine.stub.RecordTurn(turn(f"t{number}", stimuli=[felt(f"f{number}", 0.1 * number, -0.3)]))
        late = state_pb2.AddStimulusRequest(session_id="s", turn_id="t1", stimulus=felt("late"))
        await engine.stub.AddStimulus(late)
        event = state_pb2.Stimulus(stimulus_id="e", event=state_pb2.Event(name="reward", intensity=0.3))
        await engine.stub.AddStimulus(state_pb2.AddStimulusRequest(session_id="s", stimulus=event))
        clock.pass_s(60)
        before = await state_at(engine)

    async with running_engine(journal_path, clock) as engine:
        assert await state_at(engine) == before
        assert (await engine.stub.AddStimulus(late)).duplicate
        assert (await engine.stub.RecordTurn(turn("t3", stimuli=[felt("f3", 0.1 * 3, -0.3)]))).duplicate


async def test_sessions_that_do_not_fit_in_memory_are_read_again(journal_path: Path, clock: SetClock) -> None:
    async with running_engine(journal_path, clock, StateSettings(cached_sessions=2)) as engine:
        for number in range(6):
            await opened(engine, f"s{number}")

        async def use(number: int, step: int) -> None:
            request = turn(f"t{step}", session=f"s{number}", stimuli=[felt(f"f{step}")])
            await engine.stub.RecordTurn(request)

        for step in range(4):
            await asyncio.gather(*(use(number, step) for number in range(6)))
        states = [await state_at(engine, session=f"s{number}") for number in range(6)]

    assert {state.revision for state in states} == {9}
    assert len({tuple(values(state).values()) for state in states}) == 1


async def test_words_that_are_not_kept_are_nowhere(journal_path: Path, clock: SetClock) -> None:
    async with running_engine(journal_path, clock) as engine:
        await engine.stub.CreateSession(state_pb2.CreateSessionRequest(session_id="s", keep_text=False))
        stimulus = felt("f")
        stimulus.reading.reasoning = "because you said canary"
        request = turn("t", stimuli=[stimulus])
        request.text = "my canary died"
        await engine.stub.RecordTurn(request)
        again = await engine.stub.RecordTurn(request)
        listed = await engine.stub.ListTurns(state_pb2.ListTurnsRequest(session_id="s"))

    assert again.duplicate
    assert listed.turns[0].text == ""
    assert listed.turns[0].stimuli[0].reading.reasoning == ""
    assert not [path for path in journal_path.parent.iterdir() if b"canary" in path.read_bytes()]


async def test_a_session_may_hold_so_many_facts_and_no_more(journal_path: Path, clock: SetClock) -> None:
    async with running_engine(journal_path, clock, StateSettings(facts_per_session=4)) as engine:
        await opened(engine)
        await engine.stub.RecordTurn(turn("t", stimuli=[felt("f")]))
        await engine.stub.RecordTurn(turn("u"))

        failure = await refused(engine.stub.RecordTurn(turn("v")))

    assert (failure.code, failure.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "LIMIT_EXCEEDED")
    assert failure.retry_after is None
