"""Conversations that a client sends as a whole, through whole turns: what is felt, what is recorded, and what the model is given."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import count
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.content import Said, conversation_session
from gateway.events import AffectKnown, Dialogue, StateKnown, TurnDone, TurnEvent
from gateway.ports import BackendFailure
from gateway.trace import OK
from limbic.gateway.v1 import gateway_pb2
from limbic.state.v1 import state_pb2
from tests.gateway.engine_model import RESTING
from tests.gateway.fakes import READING, World, settle

USER, ASSISTANT = state_pb2.ROLE_USER, state_pb2.ROLE_ASSISTANT
ALREADY_FELT = gateway_pb2.AFFECT_STATUS_ALREADY_FELT
STEP = 10 * READING.valence


def talk(*texts: str) -> list[Said]:
    """Return a conversation that the user begins."""
    return [Said((USER, ASSISTANT)[index % 2], text) for index, text in enumerate(texts)]


def asked(world: World, said: list[Said], *, named: str = "ada", aside: bool = False, **changes: Any) -> Any:
    """Return the turn that a client asks for with a conversation."""
    history, words = (said, None) if aside else (said[:-1], said[-1])
    session_id = named or conversation_session("", said)
    return replace(
        world.input(words.text if words is not None else "Go on.", session_id=session_id, turn_id=""),
        dialogue=Dialogue(tuple(history), words, True, "", bool(named)),
        **changes,
    )


async def ask(world: World, said: list[Said], *, reply: str = "Hello there.", **changes: Any) -> list[TurnEvent]:
    world.model.words = [reply]
    running = world.begin(asked(world, said, **changes))
    await running.task
    await settle()
    return running.events


def done(events: list[TurnEvent]) -> TurnDone:
    last = events[-1]
    assert isinstance(last, TurnDone)
    return last


def texts_to(world: World, turn_id: str, session_id: str = "ada") -> list[str]:
    return [turn.text for turn in world.engine.path(session_id, turn_id)]


def value_at(world: World, turn_id: str) -> float:
    return world.engine.state("ada", turn_id).levels[0].value


async def test_a_conversation_that_is_sent_again_is_felt_once() -> None:
    world = World()
    said = talk("I missed you")
    first = done(await ask(world, said, reply="Did you?"))
    said += [Said(ASSISTANT, "Did you?"), Said(USER, "Very much")]

    second = await ask(world, said)

    assert texts_to(world, done(second).reply_turn_id) == ["I missed you", "Did you?", "Very much", "Hello there."]
    assert world.engine.stimuli() == [f"{first.trace.turn_id}:reading", f"{done(second).trace.turn_id}:reading"]
    assert world.engine.calls.count("list_turns") == 1
    # The model and the head are given what the client's user sees.
    assert [message.text for message in world.model.requests[1].messages] == ["I missed you", "Did you?", "Very much"]
    assert list(world.head.requests[1].context) == ["I missed you", "Did you?"]


@pytest.mark.parametrize("restarted", [False, True])
@pytest.mark.parametrize("keeps_text", [True, False])
async def test_a_swipe_is_a_sibling_also_after_a_restart_and_where_no_words_are_kept(
    restarted: bool, keeps_text: bool
) -> None:
    world = World(keeps_text=keeps_text)
    said = talk("one", "Hello there.", "two")
    await ask(world, said[:1])
    first = done(await ask(world, said, reply="This."))
    if restarted:
        world.restart()
    await world.timer.advance(3.0)

    second = await ask(world, said, reply="That.")

    assert isinstance(second[1], AffectKnown)
    assert second[1].status == ALREADY_FELT
    assert done(second).trace.turn_id == first.trace.turn_id
    parents = [
        world.engine.turns["ada", one].parent_turn_id for one in (first.reply_turn_id, done(second).reply_turn_id)
    ]
    assert parents == [first.trace.turn_id] * 2
    assert len(world.engine.stimuli()) == 2


async def test_the_same_reply_again_is_the_same_turn() -> None:
    world = World()

    first = done(await ask(world, talk("one")))
    await world.timer.advance(3.0)
    second = done(await ask(world, talk("one")))

    assert first.reply_turn_id == second.reply_turn_id
    assert second.trace.degraded_reasons == ()
    assert {stage.status for stage in second.trace.stages if stage.name == "record_reply"} == {OK}


async def test_a_chat_that_was_never_seen_is_recorded_and_not_felt() -> None:
    world = World()
    imported = [Said(ASSISTANT, "Hi, I am Mira."), *talk(*[f"line {number}" for number in range(90)])]

    events = await ask(world, [*imported, Said(USER, "here I am")])

    assert texts_to(world, done(events).trace.turn_id) == [*(said.text for said in imported), "here I am"]
    assert [said.role for said in world.engine.path("ada", done(events).trace.turn_id)][:3] == [
        ASSISTANT,
        USER,
        ASSISTANT,
    ]
    assert world.engine.stimuli() == [f"{done(events).trace.turn_id}:reading"]
    place = next(stage for stage in done(events).trace.stages if stage.name == "place")
    assert place.detail == "91 new before it"


async def test_an_edit_further_up_takes_the_feelings_of_what_follows_along() -> None:
    world = World()
    said = talk("one", "a", "two", "b", "three")
    for end in (1, 3, 5):
        await ask(world, said[:end], reply="a" if end == 1 else "b" if end == 3 else "c")
    before = value_at(world, world.engine.tips["ada"])
    moments = [turn.occurred_at for turn in world.engine.path("ada", world.engine.tips["ada"]) if turn.stimuli]
    await world.timer.advance(60.0)
    altered = [said[0], Said(ASSISTANT, "another a"), *said[2:], Said(ASSISTANT, "c"), Said(USER, "four")]

    events = await ask(world, altered)

    path = world.engine.path("ada", done(events).trace.turn_id)
    assert [turn.text for turn in path] == ["one", "another a", "two", "b", "three", "c", "four"]
    assert [turn.occurred_at for turn in path if turn.stimuli][:3] == moments
    assert value_at(world, path[-1].turn_id) == pytest.approx(before + STEP)


async def test_words_asked_for_again_behind_an_edit_are_felt_at_their_own_moment() -> None:
    world = World()
    said = talk("one", "a", "two")
    await ask(world, said[:1], reply="a")
    first = done(await ask(world, said))
    await world.timer.advance(60.0)

    events = await ask(world, [said[0], Said(ASSISTANT, "another a"), said[2]])

    turns = [world.engine.turns["ada", one.trace.turn_id] for one in (first, done(events))]
    assert turns[0].turn_id != turns[1].turn_id
    assert turns[0].occurred_at == turns[1].occurred_at
    assert turns[0].stimuli[0].reading == turns[1].stimuli[0].reading
    assert turns[1].stimuli[0].occurred_at == turns[0].occurred_at


async def test_a_long_conversation_that_lost_its_beginning_is_found_after_a_restart() -> None:
    world = World()
    said = talk(*[f"number {number} of the lines that we have said to each other" for number in range(9)])
    for end in range(1, 10, 2):
        reply = said[end].text if end < 9 else "the end"
        await ask(world, said[:end], named="", reply=reply)
    world.restart()
    rest = [*said[3:], Said(ASSISTANT, "the end"), Said(USER, "and on")]

    events = await ask(world, rest, named="")

    session_id = conversation_session("", said)
    assert done(events).trace.session_id == session_id != conversation_session("", rest)
    assert len(texts_to(world, done(events).trace.turn_id, session_id)) == 11
    assert len(world.engine.tips) == 1


async def test_a_session_that_was_deleted_begins_anew() -> None:
    world = World()
    said = talk("one", "Hello there.", "two")
    await ask(world, said[:1])
    world.engine.tips.clear()
    world.engine.turns.clear()

    running = world.begin(asked(world, said))
    refusal = (await asyncio.gather(running.task, return_exceptions=True))[0]
    events = await ask(world, said)

    assert type(refusal).__name__ == "SessionNotFoundError"
    assert texts_to(world, done(events).trace.turn_id) == ["one", "Hello there.", "two"]
    assert len(world.engine.stimuli()) == 1


@pytest.mark.parametrize("known", [False, True])
async def test_while_the_engine_is_away_everything_waits_on_disk_in_order(known: bool) -> None:
    world = World()
    said = talk("one", "Hello there.", "two")
    if known:
        await ask(world, said[:1])
    world.restart()
    world.engine.failure = BackendFailure("UNAVAILABLE")

    events = await ask(world, said)
    world.engine.failure = None
    for fact in world.spool.facts:
        with suppress(BackendFailure):
            world.engine.take(fact)

    assert isinstance(events[0], StateKnown)
    assert events[0].degraded
    assert texts_to(world, done(events).trace.turn_id) == ["one", "Hello there.", "two"]
    assert len(world.engine.stimuli()) == (2 if known else 1)


async def test_feelings_that_cannot_be_read_are_missed_aloud() -> None:
    world = World()
    said = talk("one", "a", "two", "b", "three")
    for end in (1, 3):
        await ask(world, said[:end], reply="a" if end == 1 else "b")
    world.engine.refuse["list_turns"] = BackendFailure("DEADLINE_EXCEEDED")

    events = await ask(world, [said[0], Said(ASSISTANT, "other"), *said[2:]])

    assert [reason for reason in done(events).trace.degraded_reasons if "could not be carried over" in reason]


async def test_an_aside_speaks_from_the_state_and_leaves_nothing_behind() -> None:
    world = World()
    said = talk("one", "Hello there.")
    await ask(world, said[:1])
    facts = list(world.engine.facts)

    events = await ask(world, said, aside=True, reply="and then")

    assert [type(event).__name__ for event in events] == ["StateKnown", "DeltaText", "TurnDone"]
    assert world.engine.facts == facts
    assert world.spool.facts == []
    request = world.model.requests[-1]
    assert request.expression.levels[0].value == pytest.approx(RESTING + STEP)
    assert [message.text for message in request.messages] == ["one", "Hello there.", "Go on."]
    assert done(events).reply_turn_id == ""
    assert len(world.head.requests) == 1


async def test_an_aside_in_a_conversation_that_was_never_seen_creates_no_session() -> None:
    world = World()

    await ask(world, talk("one", "Hello there."), aside=True)

    assert world.engine.tips == {}


async def test_an_aside_that_is_no_reply_of_the_character_is_not_coloured() -> None:
    world = World()
    await ask(world, talk("one"))
    turn = asked(world, [], aside=True)
    assert turn.dialogue is not None
    running = world.begin(replace(turn, dialogue=replace(turn.dialogue, feels=False)))
    await running.task

    assert list(world.model.requests[-1].expression.levels) == []


async def test_an_aside_while_the_engine_is_away_speaks_from_what_is_remembered() -> None:
    world = World()
    await ask(world, talk("one"))
    world.engine.failure = BackendFailure("UNAVAILABLE")

    events = await ask(world, talk("one", "Hello there."), aside=True)

    assert isinstance(events[0], StateKnown)
    assert events[0].degraded
    assert events[0].state.levels[0].value == pytest.approx(RESTING + STEP)


async def test_a_history_beyond_what_is_looked_for_counts_as_cut_off() -> None:
    world = World()
    said = talk(*[f"line number {number}" for number in range(601)])

    first = done(await ask(world, said, reply="so"))
    second = done(await ask(world, [*said, Said(ASSISTANT, "so"), Said(USER, "and")]))

    assert world.engine.turns["ada", second.trace.turn_id].parent_turn_id == first.reply_turn_id
    assert len(world.engine.turns) == 516


@dataclass(slots=True)
class Line:
    """One line of the front end's chat. `felt`: its words were once said to the character."""

    role: state_pb2.Role.ValueType
    text: str
    felt: bool = False


class FrontEnd:
    """A front end that keeps a chat and sends all of it, or its end, and changes it in between as its user likes."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.lines: list[Line] = []
        self.window = 1_000
        self._numbers = count()

    def words(self, kind: str) -> str:
        return f"{kind} number {next(self._numbers)}, spoken on a quiet evening"

    async def say(self) -> None:
        self.lines.append(Line(USER, self.words("words"), felt=True))
        await self.answer()

    async def answer(self) -> None:
        # What is asked about is felt, also if it was edited before that.
        self.lines[-1].felt = True
        reply = self.words("reply")
        events = await ask(self.world, [Said(line.role, line.text) for line in self.lines[-self.window :]], reply=reply)
        self.check(done(events))
        self.lines.append(Line(ASSISTANT, reply))

    async def swipe(self) -> None:
        if self.lines:
            self.lines.pop()
            await self.answer()

    async def say_otherwise(self) -> None:
        """Edit the last words and have them answered."""
        if self.lines:
            del self.lines[-2:]
            await self.say()

    async def edit(self, at: int) -> None:
        """Edit one or two of the lines that are sent, anywhere, and go on."""
        if seen := self._seen():
            for line in (seen[at % len(seen)], seen[7 * at % len(seen)]):
                line.text, line.felt = self.words("edited"), False
        await self.say()

    def delete(self, at: int) -> None:
        """Delete an exchange that is sent. Not the first one: a chat without it is one that is cut off."""
        if seen := self._seen()[2:]:
            index = self.lines.index(seen[at % len(seen)]) // 2 * 2
            del self.lines[index : index + 2]

    def trim(self, at: int) -> None:
        """Send only the end from now on."""
        self.window = 7 + at % 4

    def restart(self) -> None:
        """Start the gateway again."""
        self.world.restart()

    def _seen(self) -> list[Line]:
        # Of a chat that is cut off the first lines must stay, or nobody could know where it belongs.
        begin = max(0, len(self.lines) + 1 - self.window)
        return self.lines[begin + 4 if begin else 0 :]

    def check(self, answered: TurnDone) -> None:
        """The tree holds what the front end shows, and the state is the sum over what was felt of it, each once."""
        path = self.world.engine.path("ada", answered.trace.turn_id)
        assert [turn.text for turn in path][-self.window :] == [line.text for line in self.lines][-self.window :]
        assert answered.trace.degraded_reasons == ()
        felt = [turn.turn_id for turn in path if turn.stimuli]
        assert all(len(turn.stimuli) <= 1 for turn in path)
        assert len(set(felt)) == len(felt)
        if len(path) == len(self.lines):
            assert value_at(self.world, path[-1].turn_id) == pytest.approx(
                RESTING + STEP * sum(line.felt for line in self.lines)
            )


moves = st.one_of(
    st.sampled_from([("say",), ("swipe",), ("say_otherwise",), ("restart",)]),
    st.tuples(st.sampled_from(["edit", "delete", "trim"]), st.integers(0, 20)),
)


@settings(max_examples=40)
@given(st.lists(moves, max_size=14), st.booleans())
def test_the_state_is_the_sum_over_what_the_front_end_shows(script: list[tuple[Any, ...]], keeps_text: bool) -> None:
    async def play() -> None:
        front_end = FrontEnd(World())
        for _ in range(3):
            await front_end.say()
        for name, *arguments in script:
            moved = getattr(front_end, name)(*arguments)
            if moved is not None:
                await moved
        await front_end.say()

    asyncio.run(play())
