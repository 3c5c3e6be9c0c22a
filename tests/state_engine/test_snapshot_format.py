"""Snapshots as bytes: from any point on they lead to the bits of a whole fold, and whatever cannot be trusted is refused."""

from __future__ import annotations

import struct
from dataclasses import replace
from functools import cache
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.state_engine import law, snapshot_format
from services.state_engine.journal.facts import RewindFact, StimulusFact, TurnFact
from services.state_engine.session import Session, retraction_key, stimulus_key, turn_key
from services.state_engine.snapshot_format import SnapshotRefusedError, decode, encode
from tests.state_engine.lives import LIBRARY, life, log, opening
from tests.state_engine.parts import START_NS

TEMPERAMENT = LIBRARY.named("default")
END_NS = START_NS + 10**15


def kept(session: Session) -> bytes:
    return encode(session.picture(), session.fact, session.temperament)


def restored(content: bytes, revision: int) -> Session:
    return Session.pictured(opening(), TEMPERAMENT, 7, decode(content, revision, opening(), TEMPERAMENT))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.integers(0, 260), st.data())
def test_from_any_point_on_a_snapshot_and_the_rest_are_the_whole_fold_to_the_last_bit(
    seed: int, length: int, data: st.DataObject
) -> None:
    facts, random = life(seed, length), Random(seed)
    whole = Session.of(log(facts), LIBRARY)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(facts)), min_size=1, max_size=3)))
    session, done = Session.of(log(facts[: cuts[0]]), LIBRARY), cuts[0]
    for cut in [*cuts[1:], len(facts)]:
        # Whatever has been asked before, and so is known or not.
        for _ in range(random.randrange(4)):
            session.state(random.choice(session.timeline.tree.ids), END_NS - random.randrange(10**15))
        session = restored(kept(session), session.revision)
        session.apply(facts[done:cut], 1 + cut)
        done = cut

    assert (session.revision, session.tip.turn_id) == (whole.revision, whole.tip.turn_id)
    turns = ["", *(fact.turn_id for fact in facts if isinstance(fact, TurnFact))]
    for turn in random.sample(turns, min(10, len(turns))):
        assert session.present_ns(turn, END_NS) == whole.present_ns(turn, END_NS)
        assert session.said_ns(turn) == whole.said_ns(turn)
        assert list(session.timeline.path(turn)) == list(whole.timeline.path(turn))
        assert session.tip.abandoned(turn) == whole.tip.abandoned(turn)
        assert session.holds(turn_key(turn)) is whole.holds(turn_key(turn))
        for moment in (END_NS, START_NS + random.randrange(10**15)):
            assert session.timeline.state(turn, moment).tobytes() == whole.timeline.state(turn, moment).tobytes()
    for fact in facts:
        if isinstance(fact, StimulusFact):
            assert session.holds(stimulus_key(fact.stimulus_id))
            retraction = retraction_key(fact.stimulus_id)
            assert session.holds(retraction) is whole.holds(retraction)
        elif isinstance(fact, RewindFact):
            assert session.tip.rewound(fact.rewind_id) == whole.tip.rewound(fact.rewind_id)
            assert session.tip.left_by(fact.rewind_id) == whole.tip.left_by(fact.rewind_id)
    assert session.pauses.all == whole.pauses.all


def test_a_picture_does_not_change_while_its_session_goes_on() -> None:
    facts = life(4, 300)
    session = Session.of(log(facts[:200]), LIBRARY)
    before, picture = kept(session), session.picture()

    session.apply(facts[200:], 1 + len(facts))

    assert encode(picture, session.fact, session.temperament) == before


def test_a_session_that_was_restored_is_kept_as_the_same_bytes() -> None:
    session = Session.of(log(life(5, 300)), LIBRARY)
    content = kept(session)

    assert kept(restored(content, session.revision)) == content


@cache
def some_content() -> bytes:
    return kept(Session.of(log(life(6, 60)), LIBRARY))


def some_revision() -> int:
    return 1 + len(life(6, 60))


@given(st.data())
def test_a_flipped_bit_is_found_wherever_it_is(data: st.DataObject) -> None:
    content = bytearray(some_content())
    content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))

    with pytest.raises(SnapshotRefusedError, match="damaged"):
        decode(bytes(content), some_revision(), opening(), TEMPERAMENT)


@given(st.integers(0, 10**6))
def test_a_lost_end_is_found_wherever_it_begins(length: int) -> None:
    with pytest.raises(SnapshotRefusedError, match="damaged"):
        decode(some_content()[: length % len(some_content())], some_revision(), opening(), TEMPERAMENT)


def test_what_is_of_another_session_temperament_revision_format_or_program_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    content, revision = some_content(), some_revision()
    assert decode(content, revision, opening(), TEMPERAMENT).revision == revision
    other = replace(TEMPERAMENT, digest="other")
    for reason, session, temperament, at in (
        ("session", opening("another"), TEMPERAMENT, revision),
        ("session", replace(opening(), created_ns=START_NS + 1), TEMPERAMENT, revision),
        ("law", opening(), LIBRARY.named("volatile"), revision),
        ("law", opening(), other, revision),
        ("damaged", opening(), TEMPERAMENT, revision + 1),
    ):
        with pytest.raises(SnapshotRefusedError, match=reason):
            decode(content, at, session, temperament)
    monkeypatch.setattr(snapshot_format, "_FORMAT", 2)
    with pytest.raises(SnapshotRefusedError, match="format"):
        decode(content, revision, opening(), TEMPERAMENT)


def test_a_program_whose_law_rounds_the_last_bit_otherwise_is_another(monkeypatch: pytest.MonkeyPatch) -> None:
    before = law.law_digest(TEMPERAMENT)
    law.law_digest.cache_clear()
    advance = type(TEMPERAMENT.dynamics).advance

    def rounds(self: object, state: object, seconds: float) -> object:
        found = advance(self, state, seconds).copy()  # type: ignore[arg-type]
        bits = struct.unpack("<q", struct.pack("<d", found[0]))[0]
        found[0] = struct.unpack("<d", struct.pack("<q", bits + 1))[0]
        return found

    monkeypatch.setattr(type(TEMPERAMENT.dynamics), "advance", rounds)
    after = law.law_digest(TEMPERAMENT)
    law.law_digest.cache_clear()

    assert after != before


def test_what_has_no_exact_form_is_not_kept() -> None:
    session = Session.of(log(life(7, 20)), LIBRARY)
    picture = session.picture()
    latents = picture.latents.copy()
    latents[0, :2] = 1.0

    with pytest.raises(ValueError, match="both ways"):
        encode(replace(picture, latents=latents), session.fact, session.temperament)
