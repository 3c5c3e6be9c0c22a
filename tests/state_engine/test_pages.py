"""Lists of turns, page by page."""

from __future__ import annotations

from limbic.state.v1 import state_pb2
from tests.state_engine.calls import felt, opened, turn
from tests.state_engine.parts import START_NS, Running


async def test_pages_of_a_path_lead_back_to_the_root(engine: Running) -> None:
    await opened(engine)
    for number in range(7):
        await engine.stub.RecordTurn(turn(f"t{number}", parent=f"t{number - 1}" if number else ""))
    await engine.stub.RecordTurn(turn("elsewhere", parent="t2"))
    await engine.stub.RecordTurn(turn("t7", parent="t6"))
    request = state_pb2.ListTurnsRequest(session_id="s", path_to_turn_id="tip", page_size=3)
    pages = []
    while True:
        response = await engine.stub.ListTurns(request)
        pages.append([one.turn_id for one in response.turns])
        if not response.next_page_token:
            break
        request.page_token = response.next_page_token
        # What is recorded meanwhile does not shift the pages.
        await engine.stub.RecordTurn(turn(f"meanwhile{len(pages)}"))

    assert pages == [["t5", "t6", "t7"], ["t2", "t3", "t4"], ["t0", "t1"]]


async def test_pages_of_all_turns_hold_each_once(engine: Running) -> None:
    await opened(engine)
    for number in range(7):
        await engine.stub.RecordTurn(
            turn(f"t{number}", parent="", role=state_pb2.ROLE_ASSISTANT, cut=True, stimuli=[felt(f"f{number}")])
        )
    request = state_pb2.ListTurnsRequest(session_id="s", page_size=3)
    first = await engine.stub.ListTurns(request)
    second = await engine.stub.ListTurns(
        state_pb2.ListTurnsRequest(session_id="s", page_size=3, page_token=first.next_page_token)
    )
    third = await engine.stub.ListTurns(
        state_pb2.ListTurnsRequest(session_id="s", page_size=3, page_token=second.next_page_token)
    )

    listed = [one.turn_id for page in (third, second, first) for one in page.turns]
    assert listed == [f"t{number}" for number in range(7)]
    assert third.next_page_token == ""
    last = first.turns[-1]
    assert (last.role, last.cut, last.text) == (state_pb2.ROLE_ASSISTANT, True, "words of t6")
    assert last.occurred_at.ToNanoseconds() == last.recorded_at.ToNanoseconds() == START_NS
    assert last.stimuli[0].reading == felt("f6").reading
