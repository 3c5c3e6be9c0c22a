"""What a turn does when a part of it fails, and when nobody listens any more."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest

from gateway.errors import GenerationCutError, TurnExistsError
from gateway.events import AffectKnown, LateAffect, StateKnown, TurnDone
from gateway.feeling import GRACE_S
from gateway.ports import BackendFailure
from limbic.gateway.v1 import gateway_pb2
from limbic.runtime.errors import InvalidArgumentError, LimbicError
from limbic.state.v1 import state_pb2
from tests.gateway.fakes import POLICY, WINDOW_S, World, settle

DOWN = BackendFailure("UNAVAILABLE")


def recorded_texts(world: World) -> list[tuple[str, bool]]:
    turns = [fact for fact in world.engine.facts if isinstance(fact, state_pb2.RecordTurnRequest)]
    return [(fact.text, fact.cut) for fact in turns]


@pytest.mark.parametrize(
    ("failure", "status"),
    [
        (BackendFailure("UNAVAILABLE", "HEAD_UNAVAILABLE"), gateway_pb2.AFFECT_STATUS_UNAVAILABLE),
        (BackendFailure("RESOURCE_EXHAUSTED", "QUEUE_FULL"), gateway_pb2.AFFECT_STATUS_SHED),
        (BackendFailure("INTERNAL", "INTERNAL_ERROR"), gateway_pb2.AFFECT_STATUS_FAILED),
        (BackendFailure("DEADLINE_EXCEEDED"), gateway_pb2.AFFECT_STATUS_FAILED),
    ],
)
@pytest.mark.parametrize("late", [False, True])
async def test_a_head_that_fails_is_named_and_the_turn_is_answered(
    failure: BackendFailure, status: int, late: bool
) -> None:
    world = World()
    world.head.failure = failure
    if late:
        world.head.release, world.model.hold_at = asyncio.Event(), 1
    running = world.begin(session_is_new=True)
    if late:
        await world.timer.advance(WINDOW_S)
        assert world.head.release is not None
        world.head.release.set()
        await settle()
        world.model.release.set()
    await running.task

    told = next(event for event in running.events if isinstance(event, LateAffect if late else AffectKnown))
    assert isinstance(told, LateAffect | AffectKnown)
    assert (told.status, told.reading, bool(told.reason)) == (status, None, True)
    done = running.events[-1]
    assert isinstance(done, TurnDone)
    assert done.trace.degraded_reasons == (told.reason,)
    assert world.watcher.degraded == {("affect", failure.label): 1}
    assert [seen.status for seen in world.watcher.readings] == [status]
    assert world.engine.stimuli() == []


async def test_without_the_state_engine_a_turn_speaks_from_the_last_known_state() -> None:
    world = World()
    first = await world.say("one", session_is_new=True)
    world.engine.failure = DOWN

    events = await world.say("two", turn_id="t2")

    assert isinstance(first[-1], TurnDone)
    assert isinstance(events[0], StateKnown)
    assert events[0].degraded
    assert events[0].state.levels[0].value == pytest.approx(58.0)
    assert events[0].reason
    assert world.model.requests[1].expression.levels[0].value == pytest.approx(58.0)
    assert [message.text for message in world.model.requests[1].messages] == ["one", "Hello there.", "two"]
    done = events[-1]
    assert isinstance(done, TurnDone)
    assert done.trace.degraded_reasons == (events[0].reason,)
    said, replied = world.spool.facts
    assert isinstance(said, state_pb2.RecordTurnRequest)
    assert isinstance(replied, state_pb2.RecordTurnRequest)
    assert (said.turn_id, said.parent_turn_id, len(said.stimuli)) == ("t2", first[-1].reply_turn_id, 1)
    assert (replied.parent_turn_id, replied.text) == ("t2", "Hello there.")
    assert world.watcher.degraded == {("state", "unavailable"): 1}


async def test_without_the_state_engine_an_unknown_session_speaks_from_the_baseline_and_is_created_first() -> None:
    world = World()
    await world.say("one", session_is_new=True)
    world.engine.failure = DOWN

    events = await world.say("hello", session_id="new", turn_id="n1", temperament="steady")

    assert isinstance(events[0], StateKnown)
    assert (events[0].degraded, events[0].state.session_id) == (True, "new")
    assert events[0].state.levels[0].value == 50.0
    created, said, replied = world.spool.facts
    assert isinstance(created, state_pb2.CreateSessionRequest)
    assert (created.session_id, created.temperament) == ("new", "steady")
    assert isinstance(said, state_pb2.RecordTurnRequest)
    assert not said.HasField("parent_turn_id")
    assert isinstance(replied, state_pb2.RecordTurnRequest)


async def test_a_conversation_that_begins_while_the_engine_is_away_knows_at_least_itself() -> None:
    world = World()
    world.engine.failure = DOWN
    await world.say("one")

    events = await world.say("two", turn_id="t2")

    assert [message.text for message in world.model.requests[1].messages] == ["one", "Hello there.", "two"]
    done = events[-1]
    assert isinstance(done, TurnDone)
    assert "not all that was said before is known while the state engine is away" in done.trace.degraded_reasons


async def test_without_any_state_the_model_speaks_without_an_expression() -> None:
    world = World()
    world.engine.failure = DOWN

    events = await world.say(session_is_new=True)

    assert isinstance(events[-1], TurnDone)
    assert list(world.model.requests[0].expression.levels) == []
    assert [type(fact).__name__ for fact in world.spool.facts] == [
        "CreateSessionRequest",
        "RecordTurnRequest",
        "RecordTurnRequest",
    ]


async def test_what_was_spooled_makes_the_state_that_would_have_been() -> None:
    world, undisturbed = World(), World()
    for one in (world, undisturbed):
        await one.say("one", session_is_new=True)
    world.engine.failure = DOWN
    await world.say("two", turn_id="t2")
    await undisturbed.say("two", turn_id="t2")
    world.engine.failure = None

    for fact in [*world.spool.facts, *world.spool.facts]:
        world.engine.take(fact)

    assert world.engine.turns.keys() == {("ada", turn) for turn in ("t1", "t1:reply-a1", "t2", "t2:reply-a2")}
    tips = [one.engine.tips["ada"] for one in (world, undisturbed)]
    states = [one.engine.state("ada", tip) for one, tip in zip((world, undisturbed), tips, strict=True)]
    assert states[0] == states[1]


async def test_a_turn_repeated_while_the_engine_is_away_is_felt_once_when_it_is_back() -> None:
    world = World()
    world.engine.failure = DOWN
    await world.say("one")
    await world.timer.advance(2.0)
    await world.say("one")
    await world.say("two", turn_id="t2")
    world.engine.failure = None

    for fact in world.spool.facts:
        world.engine.take(fact)
    world.spool.facts.clear()
    events = await world.say("three", turn_id="t3")

    assert world.engine.stimuli() == ["t1:reading", "t2:reading", "t3:reading"]
    assert [turn.text for turn in world.engine.path("ada", "t2")] == ["one", "Hello there.", "two"]
    assert isinstance(events[-1], TurnDone)
    assert events[-1].trace.degraded_reasons == ()
    texts = [message.text for message in world.model.requests[-1].messages]
    assert texts == ["one", "Hello there.", "two", "Hello there.", "three"]


async def test_while_facts_of_a_session_wait_its_later_facts_wait_behind_them() -> None:
    world = World()
    await world.say("one", session_is_new=True)
    world.engine.failure = DOWN
    await world.say("two", turn_id="t2")
    world.engine.failure = None
    facts_before = list(world.engine.facts)

    events = await world.say("three", turn_id="t3")
    elsewhere = await world.say("hello", session_id="other", turn_id="o1")

    assert isinstance(events[0], StateKnown)
    assert events[0].degraded
    assert [fact.session_id for fact in world.engine.facts[len(facts_before) :]] == ["other"] * 3
    turn_ids = [fact.turn_id for fact in world.spool.facts if isinstance(fact, state_pb2.RecordTurnRequest)]
    assert turn_ids == ["t2", "t2:reply-a2", "t3", "t3:reply-a3"]
    assert isinstance(elsewhere[0], StateKnown)
    assert not elsewhere[0].degraded


async def test_a_state_engine_that_dies_in_mid_turn_loses_nothing() -> None:
    world = World()
    await world.say("one", session_is_new=True)
    world.head.release = asyncio.Event()
    running = world.begin(text="two", turn_id="t2")
    await settle()
    world.engine.failure = DOWN
    await world.timer.advance(WINDOW_S)
    world.head.release.set()
    await running.task
    await settle()

    assert isinstance(running.events[0], StateKnown)
    assert not running.events[0].degraded
    done = running.events[-1]
    assert isinstance(done, TurnDone)
    assert done.trace.degraded_reasons != ()
    kinds = sorted(type(fact).__name__ for fact in world.spool.facts)
    assert kinds == ["AddStimulusRequest", "RecordTurnRequest", "RecordTurnRequest"]
    assert isinstance(world.spool.facts[0], state_pb2.RecordTurnRequest)
    assert world.spool.facts[0].turn_id == "t2"


async def test_a_fact_that_nobody_can_keep_is_said_so_and_the_turn_is_answered() -> None:
    world = World()
    await world.say("one", session_is_new=True)
    world.engine.refuse["record"] = DOWN
    world.spool.full = True

    events = await world.say("two", turn_id="t2")

    done = events[-1]
    assert isinstance(done, TurnDone)
    assert "could not be kept anywhere" in done.trace.degraded_reasons[0]
    assert world.watcher.degraded == {("journal", "unavailable"): 1}


async def test_a_session_that_may_hold_no_more_still_answers() -> None:
    world = World()
    await world.say("one", session_is_new=True)
    world.engine.refuse["record"] = BackendFailure("RESOURCE_EXHAUSTED", "LIMIT_EXCEEDED")

    events = await world.say("two", turn_id="t2")

    assert isinstance(events[-1], TurnDone)
    assert world.spool.facts == []
    assert world.watcher.degraded == {("journal", "resource_exhausted"): 1}


CODE = grpc.StatusCode


@pytest.mark.parametrize(
    ("failure", "code", "reason", "retry_after"),
    [
        (
            BackendFailure("UNAVAILABLE", "UPSTREAM_UNAVAILABLE", retry_after=4.0),
            CODE.UNAVAILABLE,
            "UPSTREAM_UNAVAILABLE",
            4.0,
        ),
        (BackendFailure("UNAVAILABLE"), CODE.UNAVAILABLE, "UPSTREAM_UNAVAILABLE", 1.0),
        (
            BackendFailure("RESOURCE_EXHAUSTED", "UPSTREAM_OVERLOADED", retry_after=2.0),
            CODE.RESOURCE_EXHAUSTED,
            "UPSTREAM_OVERLOADED",
            2.0,
        ),
        (
            BackendFailure("FAILED_PRECONDITION", "UPSTREAM_REJECTED"),
            CODE.FAILED_PRECONDITION,
            "UPSTREAM_REJECTED",
            None,
        ),
        (BackendFailure("INTERNAL", "UPSTREAM_INVALID"), CODE.INTERNAL, "UPSTREAM_INVALID", None),
        (BackendFailure("UNKNOWN"), CODE.INTERNAL, "UPSTREAM_INVALID", None),
        (BackendFailure("DEADLINE_EXCEEDED", "UPSTREAM_TIMEOUT"), CODE.DEADLINE_EXCEEDED, "UPSTREAM_TIMEOUT", None),
        (BackendFailure("INVALID_ARGUMENT", "PROMPT_TOO_LONG"), CODE.INVALID_ARGUMENT, "PROMPT_TOO_LONG", None),
    ],
)
async def test_a_model_that_cannot_begin_ends_the_turn_with_its_reason(
    failure: BackendFailure, code: grpc.StatusCode, reason: str, retry_after: float | None
) -> None:
    world = World()
    failure.metadata["failureClass"] = "transient"
    world.model.failure, world.model.fail_at = failure, -1
    running = world.begin(session_is_new=True)

    with pytest.raises(LimbicError) as ended:
        await running.task

    assert (ended.value.code, ended.value.reason, ended.value.retry_after) == (code, reason, retry_after)
    if code is not CODE.INVALID_ARGUMENT:
        assert ended.value.metadata["failureClass"] == "transient"
    # What the person said is felt all the same; nothing was replied.
    assert recorded_texts(world) == [("I missed you", False)]
    assert world.engine.stimuli() == ["t1:reading"]
    (summary,) = world.watcher.summaries
    assert (summary.outcome, summary.reason, summary.first_delta_s) == ("failed", reason, None)


async def test_a_refused_field_is_named_as_the_client_knows_it() -> None:
    world = World()
    for named, told in [("sampling.top_p", "options.sampling.top_p"), ("expression.style", "options.style")]:
        world.model.failure = BackendFailure("INVALID_ARGUMENT", "INVALID_ARGUMENT", metadata={"field": named})
        world.model.fail_at = -1

        with pytest.raises(LimbicError) as ended:
            await world.begin(session_is_new=True).task

        assert ended.value.metadata["field"] == told


async def test_a_reply_that_breaks_off_is_kept_as_cut() -> None:
    world = World()
    world.model.failure, world.model.fail_at = BackendFailure("UNAVAILABLE"), 2
    running = world.begin(session_is_new=True)

    with pytest.raises(GenerationCutError) as ended:
        await running.task

    assert ended.value.metadata["replyTurnId"] == "t1:reply-a1"
    assert recorded_texts(world) == [("I missed you", False), ("Hello there", True)]
    (summary,) = world.watcher.summaries
    assert (summary.outcome, summary.reason) == ("cut", "GENERATION_CUT")
    assert summary.first_delta_s is not None


async def test_a_retry_after_a_cut_continues_nothing_twice() -> None:
    world = World()
    world.model.failure, world.model.fail_at = BackendFailure("UNAVAILABLE"), 2
    with pytest.raises(GenerationCutError):
        await world.begin(session_is_new=True).task
    world.model.failure = None

    events = await world.say()

    assert recorded_texts(world) == [("I missed you", False), ("Hello there", True), ("Hello there.", False)]
    assert world.engine.stimuli() == ["t1:reading"]
    assert [message.text for message in world.model.requests[1].messages] == ["I missed you"]
    assert isinstance(events[-1], TurnDone)


async def test_a_model_that_says_nothing_leaves_no_reply() -> None:
    world = World()
    world.model.words = []

    events = await world.say(session_is_new=True)

    done = events[-1]
    assert isinstance(done, TurnDone)
    assert done.reply_turn_id == ""
    assert recorded_texts(world) == [("I missed you", False)]


async def leave(running: Any) -> None:
    running.task.cancel()
    await asyncio.gather(running.task, return_exceptions=True)
    await settle()


async def test_a_client_that_leaves_while_the_model_speaks_stops_the_model_and_nothing_else() -> None:
    world = World()
    world.head.release, world.model.hold_at = asyncio.Event(), 2
    running = world.begin(session_is_new=True)
    await world.timer.advance(WINDOW_S)
    assert world.model.running == 1

    await leave(running)

    assert (world.model.running, world.model.finished) == (0, 0)
    assert recorded_texts(world) == [("I missed you", False), ("Hello there", True)]
    (summary,) = world.watcher.summaries
    assert summary.outcome == "cancelled"
    stages = {stage.name: stage.status for stage in summary.trace.stages}
    assert stages["generate"] == gateway_pb2.STAGE_STATUS_CANCELLED
    assert world.admission.running == 0

    world.head.release.set()
    await settle()
    assert world.engine.stimuli() == ["t1:reading"]
    assert len(world.background) == 0


async def test_a_client_that_leaves_before_the_window_closes_is_felt_all_the_same() -> None:
    world = World()
    world.head.release = asyncio.Event()
    running = world.begin(session_is_new=True)
    await settle()

    await leave(running)
    world.head.release.set()
    await settle()

    assert world.model.requests == []
    assert world.engine.stimuli() == ["t1:reading"]


async def test_a_client_that_leaves_before_the_window_closes_is_felt_late_all_the_same() -> None:
    world = World()
    world.head.release = asyncio.Event()
    running = world.begin(session_is_new=True)
    await settle()

    await leave(running)
    await world.timer.advance(WINDOW_S)
    recorded_when_the_window_closed = recorded_texts(world)
    world.head.release.set()
    await settle()

    assert recorded_when_the_window_closed == [("I missed you", False)]
    assert world.engine.stimuli() == ["t1:reading"]
    assert [seen.status for seen in world.watcher.readings] == [gateway_pb2.AFFECT_STATUS_LATE]


async def test_closing_the_stream_between_two_deltas_is_leaving() -> None:
    world = World()
    stream = world.turns.run(world.input(session_is_new=True))
    async for event in stream:
        if type(event).__name__ == "DeltaText":
            break

    await stream.aclose()
    await settle()

    assert world.model.running == 0
    assert recorded_texts(world) == [("I missed you", False), ("Hello", True)]


async def test_work_after_a_turn_is_finished_before_the_process_ends() -> None:
    world = World()
    world.head.release = asyncio.Event()
    running = world.begin(session_is_new=True)
    await world.timer.advance(WINDOW_S)
    await running.task
    drained = asyncio.create_task(world.background.drain(10.0))
    await settle()

    world.head.release.set()

    assert await drained == 0
    assert world.engine.stimuli() == ["t1:reading"]


async def test_work_that_does_not_end_is_given_up_at_the_end_of_the_grace() -> None:
    world = World()
    world.head.release = asyncio.Event()
    running = world.begin(session_is_new=True)
    await world.timer.advance(WINDOW_S)
    await running.task

    assert await world.background.drain(0.01) == 1
    assert len(world.background) == 0


REFUSALS = {
    "options.style": BackendFailure(
        "INVALID_ARGUMENT", "INVALID_ARGUMENT", metadata={"field": "expression.style", "allowed": "brief, concise"}
    ),
    "options.sampling.stop[0]": BackendFailure(
        "INVALID_ARGUMENT", "INVALID_ARGUMENT", metadata={"field": "sampling.stop[0]"}
    ),
    "persona": BackendFailure("INVALID_ARGUMENT", "PROMPT_TOO_LONG", metadata={"field": "persona"}),
    "text": BackendFailure("INVALID_ARGUMENT", "PROMPT_TOO_LONG", metadata={"field": "messages"}),
}


@pytest.mark.parametrize("field", REFUSALS)
@pytest.mark.parametrize("session", ["new", "unknown", "known", "engine away"])
async def test_a_turn_that_the_living_llm_will_not_take_is_refused_before_anything_is_written(
    field: str, session: str
) -> None:
    world = World()
    if session == "known":
        await world.say("one", turn_id="t0")
    if session == "engine away":
        world.engine.failure = DOWN
    facts = list(world.engine.facts)
    world.model.refusal = REFUSALS[field]
    requests = len(world.model.requests)

    running = world.begin(session_is_new=session == "new", style="odd")
    with pytest.raises(InvalidArgumentError) as refused:
        await running.task

    assert refused.value.metadata["field"] == field
    assert running.events == []
    assert (world.engine.facts, world.spool.facts) == (facts, [])
    assert len(world.model.requests) == requests
    assert world.watcher.summaries[-1].outcome == "refused"
    assert world.model.checks[-1].expression.style == "odd"
    assert [message.text for message in world.model.checks[-1].messages] == ["I missed you"]


async def test_a_refused_style_is_told_with_those_that_there_are() -> None:
    world = World()
    world.model.refusal = REFUSALS["options.style"]

    running = world.begin(style="odd")
    with pytest.raises(InvalidArgumentError, match=r"options\.style: must be one of brief, concise, or empty"):
        await running.task


@pytest.mark.parametrize("failure", [DOWN, BackendFailure("DEADLINE_EXCEEDED"), BackendFailure("UNIMPLEMENTED")])
async def test_a_living_llm_that_cannot_be_asked_beforehand_holds_no_turn_up(failure: BackendFailure) -> None:
    world = World()
    world.model.refusal = failure

    events = await world.say()

    assert isinstance(events[-1], TurnDone)
    stages = {stage.name: stage for stage in events[-1].trace.stages}
    assert stages["check"].detail.startswith(failure.code)
    assert not events[-1].trace.degraded_reasons


async def test_a_turn_refused_late_can_be_sent_again_put_right_and_is_felt_once() -> None:
    world = World()
    world.model.refusal = DOWN
    world.model.failure, world.model.fail_at = REFUSALS["options.style"], -1
    running = world.begin(style="odd")
    with pytest.raises(InvalidArgumentError) as refused:
        await running.task
    world.model.failure = world.model.refusal = None

    events = await world.say()

    assert refused.value.metadata["field"] == "options.style"
    assert isinstance(events[-1], TurnDone)
    assert world.engine.stimuli() == ["t1:reading"]
    assert recorded_texts(world) == [("I missed you", False), ("Hello there.", False)]


@pytest.mark.parametrize("window_s", [0.0, WINDOW_S])
async def test_a_state_engine_that_hangs_together_with_the_head_delays_the_model_by_the_grace_only(
    window_s: float,
) -> None:
    world = World()
    await world.say("one", turn_id="t0")
    world.head.release, world.model.hold_at = asyncio.Event(), 1
    running = world.begin(affect_window_s=window_s)
    # The state before the words has been read; from here on the engine hangs.
    world.engine.hold_records = asyncio.Event()
    await world.timer.advance(max(window_s, POLICY.state_deadline_s))
    asked_in_the_window = len(world.model.requests)

    await world.timer.advance(GRACE_S)

    assert (asked_in_the_window, len(world.model.requests)) == (1, 2)
    assert running.kinds == ["StateKnown", "AffectKnown", "DeltaText"]
    affect = running.events[1]
    assert isinstance(affect, AffectKnown)
    assert affect.status == gateway_pb2.AFFECT_STATUS_PENDING
    world.model.release.set()
    await settle()
    # The reply waits for its words.
    assert "TurnDone" not in running.kinds
    world.head.release.set()
    world.engine.hold_records.set()
    await running.task
    done = running.events[-1]
    assert isinstance(done, TurnDone)
    assert done.trace.degraded_reasons == ("the state engine was too slow for this turn, which it still learns of",)
    assert recorded_texts(world)[-2:] == [("I missed you", False), ("Hello there.", False)]
    await settle()
    assert world.engine.stimuli() == ["t0:reading", "t1:reading"]


async def test_a_reading_in_time_is_told_though_the_engine_is_too_slow_to_say_what_it_made_felt() -> None:
    world = World()
    await world.say("one", turn_id="t0")
    running = world.begin()
    world.engine.hold_records = asyncio.Event()

    await world.timer.advance(WINDOW_S + GRACE_S)

    affect = running.events[1]
    assert isinstance(affect, AffectKnown)
    assert (affect.status, affect.state) == (gateway_pb2.AFFECT_STATUS_IN_WINDOW, None)
    assert affect.reading is not None
    assert world.model.requests[1].expression.levels[0].value == pytest.approx(58.0)
    world.engine.hold_records.set()
    await running.task
    assert world.engine.stimuli() == ["t0:reading", "t1:reading"]


async def test_history_that_does_not_come_in_time_is_left_out() -> None:
    world = World()
    await world.say("one", turn_id="t0")
    world.restart()
    world.engine.hold_lists = asyncio.Event()
    running = world.begin()

    await world.timer.advance(WINDOW_S + GRACE_S)
    await running.task

    done = running.events[-1]
    assert isinstance(done, TurnDone)
    assert done.trace.degraded_reasons == ("what was said before did not come from the journal in time",)
    assert [message.text for message in world.model.requests[-1].messages] == ["I missed you"]
    world.engine.hold_lists.set()
    await settle()


async def test_words_that_turn_out_to_be_others_end_the_turn_and_keep_no_reply() -> None:
    world = World()
    await world.say("one", turn_id="t0")
    await world.say("other words", turn_id="t1", parent_turn_id="t0")
    world.restart()
    facts = list(world.engine.facts)
    world.model.hold_at = 1
    running = world.begin(parent_turn_id="t0")
    world.engine.hold_records = asyncio.Event()
    await world.timer.advance(WINDOW_S + GRACE_S)
    assert "DeltaText" in running.kinds

    world.engine.hold_records.set()
    with pytest.raises(TurnExistsError):
        await running.task
    await settle()

    assert world.engine.facts == facts
