"""The turn as pure logic: what happens in which order, with a clock that is set and parts that can be held."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from gateway.errors import SessionNotFoundError, TooManyTurnsError, TurnExistsError, TurnNotFoundError
from gateway.events import AffectKnown, DeltaText, LateAffect, StateKnown, TurnDone
from gateway.ports import BackendFailure
from limbic.gateway.v1 import gateway_pb2
from limbic.llm.v1 import llm_pb2
from limbic.runtime.errors import DeadlineError, InvalidArgumentError
from limbic.state.v1 import state_pb2
from tests.gateway.fakes import ARRIVED_NS, POLICY, READING, WINDOW_S, World, settle

IN_WINDOW = gateway_pb2.AFFECT_STATUS_IN_WINDOW
PENDING = gateway_pb2.AFFECT_STATUS_PENDING
LATE = gateway_pb2.AFFECT_STATUS_LATE
ALREADY_FELT = gateway_pb2.AFFECT_STATUS_ALREADY_FELT


async def test_an_ordinary_turn_feels_the_words_and_then_speaks() -> None:
    world = World()

    events = await world.say(session_is_new=True)

    state, affect, *deltas, done = events
    assert isinstance(state, StateKnown)
    assert (state.state.levels[0].value, state.degraded, state.turn_id) == (50.0, False, "t1")
    assert isinstance(affect, AffectKnown)
    assert (affect.status, affect.reading) == (IN_WINDOW, READING)
    assert affect.state is not None
    assert affect.state.levels[0].value == pytest.approx(58.0)
    assert [delta.text for delta in deltas if isinstance(delta, DeltaText)] == world.model.words
    assert isinstance(done, TurnDone)
    assert done.finish_reason == llm_pb2.FINISH_REASON_STOP
    assert done.usage.completion_tokens == 3
    # The model speaks from what was felt, about what was said, as was wished.
    (request,) = world.model.requests
    assert request.expression.levels[0].value == pytest.approx(58.0)
    assert [message.text for message in request.messages] == ["I missed you"]
    assert (request.persona, request.sampling.temperature) == ("You are Ada.", 0.5)


async def test_the_journal_holds_the_words_with_their_reading_and_the_reply_after_them() -> None:
    world = World()

    *_, done = await world.say(session_is_new=True)

    created, said, replied = world.engine.facts
    assert isinstance(created, state_pb2.CreateSessionRequest)
    assert isinstance(said, state_pb2.RecordTurnRequest)
    assert said.occurred_at.ToNanoseconds() == ARRIVED_NS
    assert [stimulus.stimulus_id for stimulus in said.stimuli] == ["t1:reading"]
    assert said.stimuli[0].occurred_at == said.occurred_at
    assert isinstance(replied, state_pb2.RecordTurnRequest)
    assert isinstance(done, TurnDone)
    assert (replied.turn_id, replied.parent_turn_id) == (done.reply_turn_id, "t1")
    assert (replied.role, replied.text, replied.cut) == (state_pb2.ROLE_ASSISTANT, "Hello there.", False)


async def test_the_trace_holds_every_stage_with_its_deadline() -> None:
    world = World()

    *_, done = await world.say(session_is_new=True)

    assert isinstance(done, TurnDone)
    stages = {stage.name: stage for stage in done.trace.stages}
    assert [*stages] == [
        "admission",
        "state",
        "affect",
        "check",
        "history",
        "record",
        "first_delta",
        "generate",
        "record_reply",
    ]
    assert stages["state"].deadline_s == stages["record"].deadline_s == 0.25
    assert stages["affect"].deadline_s == WINDOW_S
    assert stages["generate"].deadline_s == pytest.approx(19.95)
    ok, skipped = gateway_pb2.STAGE_STATUS_OK, gateway_pb2.STAGE_STATUS_SKIPPED
    assert {name: stage.status for name, stage in stages.items()} == {
        name: skipped if name == "history" else ok for name in stages
    }
    assert (done.trace.upstream, done.trace.model, done.trace.omitted_messages) == ("local", "tiny", 1)
    assert [attempt.upstream for attempt in done.trace.attempts] == ["local"]
    assert done.trace.degraded_reasons == ()
    assert [summary.outcome for summary in world.watcher.summaries] == ["ok"]


async def test_a_reading_that_is_held_back_does_not_hold_the_turn_back() -> None:
    world = World()
    world.head.release, world.model.hold_at = asyncio.Event(), 2
    running = world.begin(session_is_new=True)

    await world.timer.advance(WINDOW_S - 0.001)
    kinds_before_the_window_closed = running.kinds
    await world.timer.advance(0.001)

    assert kinds_before_the_window_closed == ["StateKnown"]
    assert running.kinds == ["StateKnown", "AffectKnown", "DeltaText", "DeltaText"]
    assert isinstance(running.events[1], AffectKnown)
    assert running.events[1].status == PENDING
    assert world.model.requests[0].expression.levels[0].value == 50.0
    assert world.engine.stimuli() == []

    # The reading comes two seconds after the words, while the model still speaks.
    await world.timer.advance(1.4)
    world.head.release.set()
    await settle()

    late = running.events[-1]
    assert isinstance(late, LateAffect)
    assert (late.status, late.reading) == (LATE, READING)
    assert late.lateness_s == pytest.approx(1.4)
    assert late.state is not None
    assert late.state.levels[0].value == pytest.approx(58.0)
    added = world.engine.facts[-1]
    assert isinstance(added, state_pb2.AddStimulusRequest)
    assert added.stimulus.occurred_at.ToNanoseconds() == ARRIVED_NS

    world.model.release.set()
    await running.task
    done = running.events[-1]
    assert isinstance(done, TurnDone)
    affect = next(stage for stage in done.trace.stages if stage.name == "affect")
    assert affect.status == gateway_pb2.STAGE_STATUS_TIMEOUT
    assert done.trace.degraded_reasons == ()


async def test_a_reading_that_outlives_the_turn_is_recorded_at_the_time_of_the_words() -> None:
    world = World()
    world.head.release = asyncio.Event()
    running = world.begin(session_is_new=True)
    await world.timer.advance(WINDOW_S)
    await running.task

    done = running.events[-1]
    assert isinstance(done, TurnDone)
    affect = next(stage for stage in done.trace.stages if stage.name == "affect")
    assert affect.status == gateway_pb2.STAGE_STATUS_PENDING
    assert world.engine.stimuli() == []

    await world.timer.advance(4.4)
    world.head.release.set()
    await settle()

    assert world.engine.stimuli() == ["t1:reading"]
    (seen,) = world.watcher.readings
    assert seen.status == LATE
    assert [seen.lateness_s, seen.latency_s] == pytest.approx([4.4, 5.0])
    assert len(world.background) == 0


async def test_the_late_state_is_the_on_time_state() -> None:
    on_time, late = World(), World()
    late.head.release = asyncio.Event()

    await on_time.say(session_is_new=True)
    running = late.begin(session_is_new=True)
    await late.timer.advance(WINDOW_S)
    await running.task
    late.head.release.set()
    await settle()

    stimuli = [[*world.engine.turns["ada", "t1"].stimuli] for world in (on_time, late)]
    assert stimuli[0] == stimuli[1]


async def test_a_window_of_zero_does_not_wait() -> None:
    world = World()
    world.head.release = asyncio.Event()

    running = world.begin(session_is_new=True, affect_window_s=0.0)
    await settle()

    assert running.kinds[:2] == ["StateKnown", "AffectKnown"]
    assert running.kinds[-1] == "TurnDone"
    world.head.release.set()
    await settle()
    assert world.engine.stimuli() == ["t1:reading"]


async def test_each_call_gets_what_is_left_of_the_deadline_but_never_more_than_its_own_cap() -> None:
    world = World()
    world.head.release = asyncio.Event()
    running = world.begin(session_is_new=True, deadline_at=world.timer.monotonic() + 3.0)
    await world.timer.advance(WINDOW_S)
    world.head.release.set()
    await running.task

    assert world.engine.timeouts == [0.25] * len(world.engine.timeouts)
    assert world.head.timeouts == [30.0]
    assert world.model.timeouts == [pytest.approx(3.0 - WINDOW_S - 0.05)]


async def test_a_turn_without_time_is_refused_before_anything_happens() -> None:
    world = World()

    with pytest.raises(DeadlineError):
        await world.say(deadline_at=world.timer.monotonic() + 0.04)

    assert (world.engine.calls, world.head.requests) == ([], [])
    assert [summary.outcome for summary in world.watcher.summaries] == ["refused"]


async def test_turns_beyond_the_limit_are_refused_at_once_and_the_place_is_given_back() -> None:
    world = World(max_turns=1)
    world.model.hold_at = 0
    running = world.begin(session_is_new=True)
    await settle()

    with pytest.raises(TooManyTurnsError) as refusal:
        await world.say(session_id="other", turn_id="t2")
    calls_of_the_refused = [fact for fact in world.engine.facts if fact.session_id == "other"]
    world.model.release.set()
    await running.task
    events = await world.say(session_id="other", turn_id="t2")

    assert refusal.value.retry_after == 1.0
    assert calls_of_the_refused == []
    assert world.watcher.shed == 1
    assert isinstance(events[-1], TurnDone)


async def test_an_unknown_parent_ends_the_turn_and_records_nothing() -> None:
    world = World()
    await world.say(session_is_new=True)
    facts = len(world.engine.facts)

    with pytest.raises(TurnNotFoundError):
        await world.say(turn_id="t2", parent_turn_id="nowhere")
    with pytest.raises(SessionNotFoundError):
        await world.say(session_id="unknown", turn_id="t2", parent_turn_id="t1")

    assert len(world.engine.facts) == facts
    assert len(world.background) == 0


async def test_an_unknown_temperament_names_the_field() -> None:
    world = World()

    with pytest.raises(InvalidArgumentError) as refusal:
        await world.say(temperament="missing")

    assert refusal.value.field == "options.temperament"
    assert world.engine.facts == []


async def test_an_unknown_session_is_created_and_a_known_one_goes_on_at_its_tip() -> None:
    world = World()

    first = await world.say("one", temperament="steady")
    second = await world.say("two", turn_id="t2")

    assert isinstance(first[-1], TurnDone)
    created = world.engine.facts[0]
    assert isinstance(created, state_pb2.CreateSessionRequest)
    assert created.temperament == "steady"
    assert world.engine.turns["ada", "t2"].parent_turn_id == first[-1].reply_turn_id
    # The words just before are there for the head, and the whole conversation for the model.
    assert list(world.head.requests[1].context) == ["one", "Hello there."]
    assert [message.text for message in world.model.requests[1].messages] == ["one", "Hello there.", "two"]
    assert isinstance(second[0], StateKnown)
    assert second[0].state.levels[0].value == pytest.approx(58.0)


async def test_a_turn_at_the_root_starts_from_rest_and_without_history() -> None:
    world = World()
    await world.say("one", session_is_new=True)

    events = await world.say("another beginning", turn_id="t2", parent_turn_id="")

    assert isinstance(events[0], StateKnown)
    assert events[0].state.levels[0].value == 50.0
    assert events[0].state.moods[0].intensity == 0.0
    assert [message.text for message in world.model.requests[1].messages] == ["another beginning"]
    assert world.engine.turns["ada", "t2"].parent_turn_id == ""


async def test_history_comes_from_memory_and_after_a_restart_from_the_journal() -> None:
    world = World()
    await world.say("one", session_is_new=True)
    await world.say("two", turn_id="t2")
    calls_before_the_restart = world.engine.calls.count("list_turns")
    world.restart()

    await world.say("three", turn_id="t3")

    assert calls_before_the_restart == 0
    assert world.engine.calls.count("list_turns") == 1
    texts = [message.text for message in world.model.requests[-1].messages]
    assert texts == ["one", "Hello there.", "two", "Hello there.", "three"]


async def test_of_a_long_conversation_the_beginning_is_the_same_for_many_turns_and_after_a_restart() -> None:
    world = World(policy=replace(POLICY, history_messages=16))
    beginnings = []
    for number in range(40):
        await world.say(f"words {number}", turn_id=f"t{number}", session_is_new=number == 0)
        messages = world.model.requests[-1].messages
        assert len(messages) <= 17
        beginnings.append(messages[0].text)
    await world.say("again", turn_id="before")
    known = [message.text for message in world.model.requests[-1].messages]
    world.restart()
    await world.say("again", turn_id="after", parent_turn_id=world.engine.turns["ada", "before"].parent_turn_id)

    assert [message.text for message in world.model.requests[-1].messages] == known
    assert len(known) >= 9
    assert len(set(beginnings[8:])) < 20


async def test_a_journal_that_does_not_answer_costs_the_history_and_not_the_turn() -> None:
    world = World()
    await world.say("one", session_is_new=True)
    world.restart()
    world.engine.refuse["list_turns"] = BackendFailure("DEADLINE_EXCEEDED")

    events = await world.say("two", turn_id="t2")

    done = events[-1]
    assert isinstance(done, TurnDone)
    assert done.trace.degraded_reasons == ("what was said before could not be read from the journal",)
    assert world.watcher.degraded == {("history", "deadline_exceeded"): 1}
    assert [message.text for message in world.model.requests[-1].messages] == ["two"]


async def test_the_same_turn_again_is_felt_once_and_its_reply_is_a_sibling() -> None:
    world = World()
    first = await world.say("one", session_is_new=True)
    await world.timer.advance(3.0)

    second = await world.say("one")

    assert world.engine.stimuli() == ["t1:reading"]
    assert isinstance(second[1], AffectKnown)
    assert second[1].status == ALREADY_FELT
    assert isinstance(first[-1], TurnDone)
    assert isinstance(second[-1], TurnDone)
    replies = first[-1].reply_turn_id, second[-1].reply_turn_id
    assert replies[0] != replies[1]
    assert [world.engine.turns["ada", reply].parent_turn_id for reply in replies] == ["t1", "t1"]
    assert [message.text for message in world.model.requests[1].messages] == ["one"]


@pytest.mark.parametrize("keeps_text", [True, False])
async def test_the_same_turn_again_after_a_restart_is_still_felt_once(keeps_text: bool) -> None:
    world = World(keeps_text=keeps_text)
    await world.say("zero", session_is_new=True, turn_id="t0")
    await world.say("one")
    world.restart()
    await world.timer.advance(3.0)
    world.head.reading = type(READING)(valence=-0.5)

    again = await world.say("one")

    assert world.engine.stimuli() == ["t0:reading", "t1:reading"]
    assert isinstance(again[1], AffectKnown)
    assert again[1].status == ALREADY_FELT
    texts = [message.text for message in world.model.requests[-1].messages]
    assert texts == (["zero", "Hello there.", "one"] if keeps_text else ["one"])


async def test_a_turn_that_was_never_answered_can_be_asked_for_again() -> None:
    world = World()
    world.model.failure, world.model.fail_at = BackendFailure("UNAVAILABLE", "UPSTREAM_UNAVAILABLE"), -1
    running = world.begin(session_is_new=True)
    await asyncio.gather(running.task, return_exceptions=True)
    world.model.failure = None
    world.restart()

    events = await world.say()

    assert isinstance(events[-1], TurnDone)
    assert world.engine.stimuli() == ["t1:reading"]


@pytest.mark.parametrize("restarted", [False, True])
async def test_the_same_id_with_other_words_is_refused_and_the_first_stand(restarted: bool) -> None:
    world = World()
    await world.say("one", session_is_new=True)
    if restarted:
        world.restart()
    facts = list(world.engine.facts)

    with pytest.raises(TurnExistsError):
        await world.say("other words")

    assert world.engine.facts == facts
    assert len(world.model.requests) == 1
    assert len(world.background) == 0
