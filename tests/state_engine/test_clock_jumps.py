"""The machine's clock is set while the engine runs: what was felt stays what it was, at the moments at which it was told."""

from __future__ import annotations

from pathlib import Path

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from limbic.state.v1 import state_pb2
from tests.state_engine.calls import felt, opened, said, state_at
from tests.state_engine.parts import SetClock, running_engine, values

HOUR_S = 3_600


@pytest.mark.parametrize("jump_s", [HOUR_S, -HOUR_S], ids=["forward", "back"])
async def test_a_clock_that_jumps_and_comes_back_changes_no_state(
    journal_path: Path, clock: SetClock, jump_s: float
) -> None:
    async with running_engine(journal_path, clock) as engine:
        await opened(engine)
        await said(engine, "before", felt("f1"))
        clock.pass_s(jump_s)
        await said(engine, "during", felt("f2", valence=0.9))
        clock.pass_s(-jump_s)
        clock.pass_s(60)
        await said(engine, "after", felt("f3"))
        clock.pass_s(2 * HOUR_S)

        # The same facts, told to another session in the order of their moments.
        turns = (await engine.stub.ListTurns(state_pb2.ListTurnsRequest(session_id="s"))).turns
        await opened(engine, "ordered")
        parent = ""
        for turn in sorted(turns, key=lambda turn: turn.occurred_at.ToNanoseconds()):
            await engine.stub.RecordTurn(
                state_pb2.RecordTurnRequest(
                    session_id="ordered", turn_id=turn.turn_id, parent_turn_id=parent, role=turn.role, text=turn.text,
                    occurred_at=turn.occurred_at, stimuli=turn.stimuli,
                )
            )  # fmt: skip
            parent = turn.turn_id
        as_of = Timestamp()
        as_of.FromNanoseconds(clock.now_ns())
        jumped = values(await state_at(engine, as_of=as_of))
        ordered = values(await state_at(engine, session="ordered", as_of=as_of))

    assert jumped.keys() == ordered.keys()
    assert all(abs(jumped[name] - ordered[name]) <= 1e-9 for name in jumped)
