"""The calls, through real gRPC and a real journal."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from limbic.runtime.clock import NS_PER_S
from limbic.runtime.settings import StateSettings
from limbic.state.v1 import state_pb2
from tests.state_engine.parts import START_NS, Running, SetClock, reading, refused, running_engine, values


def turn(
    turn_id: str, *, parent: str | None = None, session: str = "s", **fields: object
) -> state_pb2.RecordTurnRequest:
    request = state_pb2.RecordTurnRequest(session_id=session, turn_id=turn_id, text=f"words of {turn_id}", **fields)  # type: ignore[arg-type]
    if parent is not None:
        request.parent_turn_id = parent
    return request


def felt(stimulus_id: str, valence: float = -0.8, tension: float = 0.8) -> state_pb2.Stimulus:
    return state_pb2.Stimulus(stimulus_id=stimulus_id, reading=reading(valence=valence, tension=tension))


async def opened(engine: Running, session: str = "s") -> None:
    await engine.stub.CreateSession(state_pb2.CreateSessionRequest(session_id=session))


async def state_at(engine: Running, turn_id: str = "", session: str = "s") -> state_pb2.State:
    return (await engine.stub.GetState(state_pb2.GetStateRequest(session_id=session, turn_id=turn_id))).state


def facts_in(journal: Path) -> int:
    connection = sqlite3.connect(f"file:{journal}?mode=ro", uri=True)
    try:
        counts = [
            connection.execute(f"SELECT COUNT(*) FROM {name}").fetchone()[0]
            for name in ("turns", "stimuli", "sessions")
        ]
    finally:
        connection.close()
    return sum(counts)


async def test_a_new_session_rests(engine: Running) -> None:
    response = await engine.stub.CreateSession(state_pb2.CreateSessionRequest(session_id="s"))

    assert (response.existed, response.session.session_id, response.session.temperament) == (False, "s", "default")
    assert response.session.keeps_text
    assert len(response.session.temperament_digest) == 64
    assert response.state.revision == 1
    assert all(level.value == level.baseline and level.band == state_pb2.BAND_STEADY for level in response.state.levels)
    assert [level.name for level in response.state.levels] == [
        "dopamine", "serotonin", "cortisol", "oxytocin", "noradrenaline",
    ]  # fmt: skip
    assert all(mood.intensity == 0.0 for mood in response.state.moods)


async def test_the_engine_names_a_session_that_has_no_name(engine: Running) -> None:
    first = await engine.stub.CreateSession(state_pb2.CreateSessionRequest())
    second = await engine.stub.CreateSession(state_pb2.CreateSessionRequest())

    assert first.session.session_id != second.session.session_id


async def test_opening_a_session_twice_is_one_session_and_other_settings_are_refused(engine: Running) -> None:
    create = engine.stub.CreateSession
    responses = await asyncio.gather(*(create(state_pb2.CreateSessionRequest(session_id="s")) for _ in range(16)))

    assert sorted(response.existed for response in responses) == [False] + [True] * 15
    for request, field in (
        (state_pb2.CreateSessionRequest(session_id="s", temperament="predecessor"), "temperament"),
        (state_pb2.CreateSessionRequest(session_id="s", keep_text=False), "keep_text"),
    ):
        failure = await refused(create(request))
        assert (failure.code, failure.reason) == (grpc.StatusCode.ALREADY_EXISTS, "SESSION_EXISTS")
        assert failure.metadata["field"] == field


async def test_words_move_the_levels_and_time_brings_them_back(engine: Running) -> None:
    await opened(engine)
    recorded = await engine.stub.RecordTurn(turn("t", stimuli=[felt("f")]))
    at_once = values(recorded.state)
    engine.clock.pass_s(3_600)
    later = values(await state_at(engine))
    engine.clock.pass_s(40 * 3_600)
    rested = values(await state_at(engine))

    assert not recorded.duplicate
    assert recorded.state.turn_id == "t"
    assert recorded.state.revision == 3
    assert 6.0 < at_once["cortisol"] - 30.0 < 20.0
    assert 30.5 < later["cortisol"] < at_once["cortisol"]
    assert rested["cortisol"] == pytest.approx(30.0, abs=1e-3)


async def test_polling_changes_nothing(engine: Running) -> None:
    for session in ("s", "polled"):
        await opened(engine, session)
        await engine.stub.RecordTurn(turn("t", session=session, stimuli=[felt("f")]))
    for _ in range(50):
        engine.clock.pass_s(7)
        await state_at(engine, session="polled")

    assert values(await state_at(engine)) == values(await state_at(engine, session="polled"))


async def test_a_reading_that_comes_late_leads_to_the_same_state_as_on_time(engine: Running) -> None:
    said_at = engine.clock.timestamp()
    for session in ("s", "late"):
        await opened(engine, session)
    await engine.stub.RecordTurn(turn("t", occurred_at=said_at, stimuli=[felt("f")]))
    await engine.stub.RecordTurn(turn("t", session="late", occurred_at=said_at))
    engine.clock.pass_s(30)
    for session in ("s", "late"):
        await engine.stub.RecordTurn(turn("u", session=session, stimuli=[felt("g", 0.5, -0.2)]))
    engine.clock.pass_s(30)

    added = await engine.stub.AddStimulus(
        state_pb2.AddStimulusRequest(session_id="late", turn_id="t", stimulus=felt("f"))
    )

    assert not added.duplicate
    assert values(added.state) == values(await state_at(engine))


async def test_a_sibling_does_not_inherit(engine: Running) -> None:
    await opened(engine)
    await engine.stub.RecordTurn(turn("t", parent=""))
    await engine.stub.RecordTurn(turn("a", parent="t", stimuli=[felt("f")]))
    sibling = await engine.stub.RecordTurn(turn("b", parent="t"))
    await engine.stub.AddStimulus(state_pb2.AddStimulusRequest(session_id="s", turn_id="a", stimulus=felt("late")))

    assert values(sibling.state)["cortisol"] == 30.0
    assert values(await state_at(engine, "b"))["cortisol"] == 30.0
    assert values(await state_at(engine, "a"))["cortisol"] > 40.0
    # The tip is the turn that was recorded last.
    assert (await state_at(engine)).turn_id == "b"


async def test_the_past_reads_as_it_was(engine: Running) -> None:
    await opened(engine)
    before = engine.clock.timestamp()
    engine.clock.pass_s(10)
    await engine.stub.RecordTurn(turn("t", stimuli=[felt("f")]))
    between = engine.clock.timestamp()
    first = await state_at(engine)
    engine.clock.pass_s(10)
    await engine.stub.RecordTurn(turn("u", stimuli=[felt("g")]))

    async def at(moment: object) -> dict[str, float]:
        request = state_pb2.GetStateRequest(session_id="s", as_of=moment)  # type: ignore[arg-type]
        return values((await engine.stub.GetState(request)).state)

    assert (await at(before))["cortisol"] == 30.0
    assert await at(between) == values(first)


async def test_a_host_whose_clock_is_a_little_ahead_is_felt_at_once(engine: Running) -> None:
    await opened(engine)

    recorded = await engine.stub.RecordTurn(turn("t", occurred_at=engine.clock.timestamp(1.5), stimuli=[felt("f")]))

    assert values(recorded.state)["cortisol"] > 35.0
    engine.clock.pass_s(-3_600)
    assert values(await state_at(engine)) == values(recorded.state)


async def test_a_repeated_turn_is_felt_once(engine: Running) -> None:
    await opened(engine)
    request = turn("t", stimuli=[felt("f")])
    first = await engine.stub.RecordTurn(request)
    engine.clock.pass_s(5)

    again = await engine.stub.RecordTurn(request)

    assert again.duplicate
    assert again.state.revision == first.state.revision == 3
    assert values(again.state)["cortisol"] < values(first.state)["cortisol"]


async def test_a_repeated_turn_with_a_new_stimulus_records_just_that(engine: Running) -> None:
    await opened(engine)
    said_at = engine.clock.now
    await engine.stub.RecordTurn(turn("t", stimuli=[felt("f")]))
    engine.clock.pass_s(60)

    again = await engine.stub.RecordTurn(turn("t", stimuli=[felt("f"), felt("g")]))

    listed = await engine.stub.ListTurns(state_pb2.ListTurnsRequest(session_id="s"))
    assert not again.duplicate
    assert again.state.revision == 4
    assert [stimulus.stimulus_id for stimulus in listed.turns[0].stimuli] == ["f", "g"]
    # A reading without a time belongs to the moment of its words, however late it comes.
    assert listed.turns[0].stimuli[1].occurred_at.ToNanoseconds() == said_at


@pytest.mark.parametrize(
    ("field", "changed"),
    [
        ("text", {"text": "other words"}),
        ("role", {"role": state_pb2.ROLE_ASSISTANT}),
        ("cut", {"cut": True}),
        ("parent_turn_id", {"parent_turn_id": ""}),
        ("occurred_at", {"occurred_at": Timestamp(seconds=START_NS // NS_PER_S - 1)}),
    ],
)
async def test_a_turn_id_that_means_something_else_is_refused_and_the_first_stands(
    engine: Running, field: str, changed: dict[str, object]
) -> None:
    await opened(engine)
    await engine.stub.RecordTurn(turn("p"))
    await engine.stub.RecordTurn(turn("t", parent="p"))
    written = facts_in(engine.journal)
    request = turn("t", parent="p", stimuli=[felt("new")])
    for name, value in changed.items():
        if isinstance(value, Timestamp):
            request.occurred_at.CopyFrom(value)
        else:
            setattr(request, name, value)

    failure = await refused(engine.stub.RecordTurn(request))

    assert (failure.code, failure.reason) == (grpc.StatusCode.ALREADY_EXISTS, "TURN_EXISTS")
    assert failure.metadata["field"] == field
    assert facts_in(engine.journal) == written


async def test_a_stimulus_id_that_means_something_else_is_refused_and_the_first_stands(engine: Running) -> None:
    await opened(engine)
    await engine.stub.RecordTurn(turn("t", stimuli=[felt("f")]))
    await engine.stub.RecordTurn(turn("u"))
    written = facts_in(engine.journal)
    timed = felt("f")
    timed.occurred_at.FromNanoseconds(START_NS - 1)
    event = state_pb2.Stimulus(stimulus_id="f", event=state_pb2.Event(name="reward"))

    for turn_id, stimulus, field in (
        ("t", felt("f", -0.81), "cause"),
        ("t", event, "cause"),
        ("u", felt("f"), "turn_id"),
        ("t", timed, "occurred_at"),
    ):
        request = state_pb2.AddStimulusRequest(session_id="s", turn_id=turn_id, stimulus=stimulus)
        failure = await refused(engine.stub.AddStimulus(request))
        assert (failure.code, failure.reason) == (grpc.StatusCode.ALREADY_EXISTS, "STIMULUS_EXISTS")
        assert failure.metadata["field"] == field
    assert facts_in(engine.journal) == written


async def test_what_a_head_says_about_itself_does_not_make_a_retry_another(engine: Running) -> None:
    await opened(engine)
    await engine.stub.RecordTurn(turn("t", stimuli=[felt("f")]))
    slower = felt("f")
    slower.reading.latency.FromMilliseconds(12)
    slower.reading.reasoning = "in other words"

    again = await engine.stub.AddStimulus(state_pb2.AddStimulusRequest(session_id="s", stimulus=slower))

    assert again.duplicate


async def test_64_callers_on_one_session_agree_with_one(engine: Running) -> None:
    for session in ("s", "one"):
        await opened(engine, session)
        await engine.stub.RecordTurn(turn("root", session=session))
    moments = [engine.clock.timestamp(-number) for number in range(256)]

    def stimulus(number: int) -> state_pb2.Stimulus:
        one = felt(f"f{number}", valence=(number % 17) / 17 - 0.5, tension=(number % 5) / 5)
        one.occurred_at.CopyFrom(moments[number])
        return one

    async def caller(first: int) -> None:
        for number in range(first, 256, 64):
            for _ in range(2):  # each of them twice
                request = state_pb2.AddStimulusRequest(session_id="s", turn_id="root", stimulus=stimulus(number))
                await engine.stub.AddStimulus(request)

    await asyncio.gather(*(caller(first) for first in range(64)), *(caller(first) for first in range(64)))
    for number in range(256):
        await engine.stub.AddStimulus(
            state_pb2.AddStimulusRequest(session_id="one", turn_id="root", stimulus=stimulus(number))
        )

    together, one = await state_at(engine), await state_at(engine, session="one")
    assert together.revision == one.revision == 258
    assert values(together) == values(one)


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


async def test_the_journal_knows_better_than_the_memory(engine: Running) -> None:
    await opened(engine)
    connection = sqlite3.connect(engine.journal)
    connection.execute(
        "INSERT INTO turns VALUES (1, 2, 't', '', 1, ?, ?, 'words of t', 0)", (engine.clock.now, engine.clock.now)
    )
    connection.commit()
    connection.close()

    # The memory finds it new, the journal does not, and what stands there decides.
    failure = await refused(engine.stub.RecordTurn(turn("t", cut=True)))

    assert (failure.code, failure.reason) == (grpc.StatusCode.ALREADY_EXISTS, "TURN_EXISTS")
    assert (await engine.stub.RecordTurn(turn("t"))).duplicate


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
