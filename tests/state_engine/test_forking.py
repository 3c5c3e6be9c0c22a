"""Forks: the path and nothing else, in the journal and in memory alike, to the last bit."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from limbic.state.v1 import state_pb2
from services.state_engine.cutting import cut_to
from services.state_engine.errors import SessionNotFoundError
from services.state_engine.journal.facts import (
    Fact,
    ForkOrigin,
    LaterFact,
    Origin,
    PauseFact,
    ResumptionFact,
    RetractionFact,
    Role,
    StimulusFact,
    TurnFact,
)
from services.state_engine.journal.port import JournalConflictError
from services.state_engine.picture import Picture
from services.state_engine.session import Session, retraction_key, stimulus_key, turn_key
from services.state_engine.snapshot_format import decode, encode
from tests.state_engine import calls
from tests.state_engine.lives import LIBRARY, life, log, opening
from tests.state_engine.parts import START_NS, Running, refused
from tests.state_engine.stores import Store, ignore, opened

TEMPERAMENT = LIBRARY.named("default")
END_NS = START_NS + 10**15


def path_to(facts: Sequence[LaterFact], turn_id: str) -> set[str]:
    parents = {fact.turn_id: fact.parent_turn_id for fact in facts if isinstance(fact, TurnFact)}
    path = {""}
    while turn_id:
        path.add(turn_id)
        turn_id = parents[turn_id]
    return path


def taken(facts: Sequence[LaterFact], turn_id: str) -> list[LaterFact]:
    """What a fork takes along, one fact after the other."""
    path = path_to(facts, turn_id)
    felt = {fact.stimulus_id for fact in facts if isinstance(fact, StimulusFact) and fact.turn_id in path}
    found: list[LaterFact] = []
    for fact in facts:
        if isinstance(fact, TurnFact | StimulusFact):
            belongs = fact.turn_id in path
        elif isinstance(fact, RetractionFact):
            belongs = fact.stimulus_id in felt
        else:
            belongs = isinstance(fact, PauseFact | ResumptionFact)
        if belongs:
            found.append(fact)
    return found


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 260), st.data())
def test_a_session_cut_to_a_path_is_the_fold_of_the_facts_on_it(seed: int, length: int, data: st.DataObject) -> None:
    facts, random = life(seed, length), Random(seed)
    session = Session.of(log(facts), LIBRARY)
    for _ in range(random.randrange(4)):
        session.state(random.choice(session.timeline.tree.ids), END_NS)
    turn = data.draw(st.sampled_from(session.timeline.tree.ids))
    fork = replace(opening("fork"), forked_from=ForkOrigin("s", turn))
    kept = taken(facts, turn)

    cut = Session.pictured(fork, TEMPERAMENT, None, cut_to(session.picture(), turn))
    whole = Session.of(log(kept, fork), LIBRARY)

    assert (cut.revision, cut.tip.turn_id) == (whole.revision, turn)
    assert cut.pauses.all == whole.pauses.all
    for fact in facts:
        if isinstance(fact, TurnFact):
            assert cut.holds(turn_key(fact.turn_id)) is whole.holds(turn_key(fact.turn_id))
            assert cut.said_ns(fact.turn_id) == whole.said_ns(fact.turn_id)
        elif isinstance(fact, StimulusFact):
            for key in (stimulus_key(fact.stimulus_id), retraction_key(fact.stimulus_id)):
                assert cut.holds(key) is whole.holds(key)
    # And it goes on as a session of its own, also after a snapshot.
    content = encode(cut.picture(), fork, TEMPERAMENT)
    again = Session.pictured(fork, TEMPERAMENT, 1, decode(content, cut.revision, fork, TEMPERAMENT))
    for one in (cut, whole, again):
        one.apply([TurnFact("next", turn, Role.USER, END_NS, END_NS, "", False)], one.revision + 1)
        if kept and any(isinstance(fact, StimulusFact) for fact in kept):
            late = next(fact for fact in kept if isinstance(fact, StimulusFact))
            one.apply([replace(late, stimulus_id="late", occurred_ns=late.occurred_ns + 1)], one.revision + 1)
    turns = [*whole.timeline.path("next"), ""]
    for at in random.sample(turns, min(8, len(turns))):
        for moment in (END_NS, START_NS + random.randrange(10**15)):
            expected = whole.timeline.state(at, moment).tobytes()
            assert cut.timeline.state(at, moment).tobytes() == again.timeline.state(at, moment).tobytes() == expected


@pytest.mark.parametrize("seed", range(4))
async def test_a_journal_copies_the_facts_on_a_path_up_to_a_number(store: Store, seed: int) -> None:
    facts, random = life(seed, 120), Random(seed)
    async with opened(store) as journal:
        first: list[Fact] = [opening("other"), *life(seed + 100, 20)]
        await journal.append("other", first, ignore)
        await journal.append("s", [opening(), *facts], ignore)
        told: list[int | None] = []
        for number in range(3):
            count = len(facts) if number == 0 else random.randrange(len(facts) // 2, len(facts))
            turns = [fact.turn_id for fact in facts[:count] if isinstance(fact, TurnFact)]
            turn = (turns[-1], random.choice(turns), "")[number]
            fork = replace(opening(f"fork{number}"), forked_from=ForkOrigin("s", turn))
            expected = taken(facts[:count], turn)
            assert await journal.copy(fork, Origin("s", None, turn, 1 + count), told.append) == 1 + len(expected)
            found = await journal.load(fork.session_id)
            assert found is not None
            assert (found.session, list(found.facts), found.revision) == (fork, expected, 1 + len(expected))
            assert told[-1] == found.revision
            late = TurnFact("later", turn, Role.USER, 1, 2, "", False)
            assert await journal.append(fork.session_id, [late], ignore) == found.revision + 1
        unchanged, other = await journal.load("s"), await journal.load("other")

    assert unchanged is not None
    assert other is not None
    assert (list(unchanged.facts), [other.session, *other.facts]) == (facts, first)


async def test_a_copy_that_cannot_be_made_leaves_nothing(store: Store) -> None:
    facts = life(1, 30)
    async with opened(store) as journal:
        await journal.append("s", [opening(), *facts], ignore)
        await journal.append("taken", [opening("taken")], ignore)
        told: list[int | None] = []
        with pytest.raises(JournalConflictError):
            await journal.copy(opening("taken"), Origin("s", None, "", 99), told.append)
        with pytest.raises(SessionNotFoundError):
            await journal.copy(opening("fork"), Origin("nowhere", None, "", 99), told.append)
        with pytest.raises(SessionNotFoundError):
            await journal.copy(opening("fork"), Origin("s", 10**9, "", 99), told.append)
        assert told == [None, None, None]
        assert await journal.load("fork") is None
        assert await journal.copy(opening("fork"), Origin("s", None, "", 99), told.append)
        # The copy is there without its origin.
        await journal.delete("s", ignore)
        assert await journal.load("fork") is not None


async def test_a_fork_of_a_session_that_is_deleted_meanwhile_is_not_one_of_the_next_of_its_name(
    engine: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, go_on, loop = asyncio.Event(), asyncio.Event(), asyncio.get_running_loop()

    def slow(picture: Picture, turn_id: str) -> Picture:
        loop.call_soon_threadsafe(made.set)
        asyncio.run_coroutine_threadsafe(go_on.wait(), loop).result()
        return cut_to(picture, turn_id)

    monkeypatch.setattr("services.state_engine.opening.cut_to", slow)
    await calls.opened(engine)
    await calls.said(engine, "t")
    request = state_pb2.ForkRequest(session_id="s", turn_id="t", new_session_id="fork")
    fork = asyncio.ensure_future(engine.stub.Fork(request))
    await made.wait()
    await engine.stub.DeleteSession(state_pb2.DeleteSessionRequest(session_id="s"))
    await calls.opened(engine)
    await calls.said(engine, "another")
    go_on.set()

    assert (await refused(fork)).reason == "TURN_NOT_FOUND"
    assert (await refused(engine.stub.GetState(state_pb2.GetStateRequest(session_id="fork")))).code.name == "NOT_FOUND"
