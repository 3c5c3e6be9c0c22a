"""Sessions that leave as lines and come in again: the same bits, all or nothing, and a number for each line that cannot be used."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from limbic.runtime.clock import NS_PER_S
from limbic.runtime.errors import RpcFailure
from limbic.runtime.settings import StateSettings
from limbic.state.v1 import state_pb2
from services.state_engine.causes import AxisUncertainty, Emotions, Event, HeadIdentity, Reading
from services.state_engine.export_format import lines_of, parse_line
from services.state_engine.journal.facts import SessionFact, SessionLog, StimulusFact
from tests.state_engine.calls import added, felt, opened, pause, resume, said, state_at
from tests.state_engine.parts import START_NS, Running, SetClock, reading, refused, running_engine
from tests.state_engine.stores import Store

Lines = list[dict[str, Any]]

axes, shares = st.floats(-1.0, 1.0), st.floats(0.0, 1.0)
readings = st.builds(
    Reading,
    valence=axes.map(lambda value: value + 0.0),
    intimacy=axes.map(lambda value: value + 0.0),
    tension=axes.map(lambda value: value + 0.0),
    confidence=shares,
    uncertainty=st.none() | st.builds(AxisUncertainty, *[st.floats(0.0, 10.0)] * 3),
    emotions=st.lists(st.tuples(shares, st.booleans()), max_size=4).map(
        lambda found: Emotions(
            tuple(f"emotion{n}" for n in range(len(found))), tuple(p for p, _ in found), tuple(a for _, a in found)
        )
    ),
    head=st.builds(HeadIdentity, *[st.text(st.characters(exclude_characters="\x00", codec="utf-8"), max_size=8)] * 3),
    truncated=st.booleans(),
    reasoning=st.text(st.characters(exclude_characters="\x00", codec="utf-8"), max_size=20),
    latency_ns=st.none() | st.integers(0, 10**12),
)


@given(readings | st.builds(Event, st.just("reward"), shares))
def test_a_cause_comes_back_to_the_last_bit(cause: Reading | Event) -> None:
    fact = StimulusFact("f", "", START_NS, START_NS, cause)
    log = SessionLog(SessionFact("s", "t", "d", "text", True, START_NS), [fact], 2, 1)
    line = list(lines_of(log))[1]

    assert "\n" not in line
    found = parse_line(line)
    assert found == fact
    assert isinstance(found, StimulusFact)
    # Equality does not tell zeros apart, nor whatever else has the same value in other bits.
    assert bits(found.cause) == bits(cause)


def bits(cause: Reading | Event) -> bytes:
    if isinstance(cause, Event):
        return struct.pack("d", cause.intensity)
    values = [cause.valence, cause.intimacy, cause.tension, cause.confidence, *cause.emotions.probabilities]
    return b"".join(struct.pack("d", value) for value in [*values, *(cause.uncertainty or ())])


@pytest.fixture
async def both(store: Store, clock: SetClock, tmp_path: Path) -> AsyncIterator[tuple[Running, Running]]:
    """An engine on each kind of journal in turn, and another one elsewhere."""
    url = store.url if store.dialect == "postgresql" else tmp_path / "here" / "journal.sqlite3"
    async with (
        running_engine(url, clock) as here,
        running_engine(tmp_path / "there" / "journal.sqlite3", clock) as there,
    ):
        yield here, there


async def lived(engine: Running) -> None:
    """Have a session hold a fact of each kind, at moments and with numbers that no decimal is round for."""
    await opened(engine, temperament="predecessor")
    for number in range(6):
        await said(engine, f"t{number}", felt(f"f{number}", valence=-1 / (number + 3), tension=math.pi / (number + 4)))
        engine.clock.pass_s(1.0 / 3.0)
    await added(
        engine, state_pb2.Stimulus(stimulus_id="late", event=state_pb2.Event(name="reward", intensity=1 / 7)), "t2"
    )
    await said(engine, "sibling", state_pb2.Stimulus(stimulus_id="g", reading=reading(0.1, 0.2, 0.3)), parent="t1")
    await engine.stub.RetractStimulus(state_pb2.RetractStimulusRequest(session_id="s", stimulus_id="f3"))
    await engine.stub.Pause(pause(pause_id="p"))
    engine.clock.pass_s(50)
    await engine.stub.Resume(resume(pause_id="p"))
    await engine.stub.Rewind(state_pb2.RewindRequest(session_id="s", turn_id="t4", rewind_id="r"))


async def exported(engine: Running, session: str = "s") -> list[str]:
    request = state_pb2.ExportSessionRequest(session_id=session)
    return [one.json_line async for one in engine.stub.ExportSession(request)]


async def taken(engine: Running, lines: list[str], name: str = "") -> state_pb2.ImportSessionResponse:
    async def requests() -> AsyncIterator[state_pb2.ImportSessionRequest]:
        for number, line in enumerate(lines):
            yield state_pb2.ImportSessionRequest(json_line=line, session_id="" if number else name)

    return await engine.stub.ImportSession(requests())


async def test_a_session_reads_the_same_bits_wherever_it_is_imported(both: tuple[Running, Running]) -> None:
    here, there = both
    await lived(here)
    lines = await exported(here)
    answer = await taken(there, lines)

    assert (answer.facts, answer.existed) == (20, False)
    assert answer.session.tip_turn_id == "t4"
    for turn_id in ("", "t0", "t3", "t5", "sibling"):
        assert await state_at(there, turn_id) == await state_at(here, turn_id)
    assert await exported(there) == lines
    # And back, under another name, beside itself.
    assert (await taken(here, lines, "copy")).session.session_id == "copy"
    copy = await exported(here, "copy")
    assert copy[1:] == lines[1:]
    assert json.loads(copy[0]) == json.loads(lines[0]) | {"session_id": "copy"}
    # What is said next is felt alike.
    assert (await said(here, "next", felt("n"))).levels == (await said(there, "next", felt("n"))).levels


async def test_to_import_again_changes_nothing_and_something_else_is_refused(both: tuple[Running, Running]) -> None:
    here, there = both
    await lived(there)
    lines = await exported(there)
    assert not (await taken(here, lines)).existed
    assert (await taken(here, lines)).existed

    failure = await refused(taken(here, [lines[0], *lines[1:5], end(5)]))
    assert (failure.code, failure.reason) == (grpc.StatusCode.ALREADY_EXISTS, "SESSION_EXISTS")
    assert await exported(here) == lines


def end(facts: int) -> str:
    return json.dumps({"fact": "end", "facts": facts})


def changed(number: int, **keys: object) -> Callable[[Lines], None]:
    def change(lines: Lines) -> None:
        lines[number - 1].update(keys)

    return change


def without(number: int, key: str) -> Callable[[Lines], None]:
    return lambda lines: lines[number - 1].pop(key)


def more(**keys: object) -> Callable[[Lines], None]:
    return lambda lines: lines.insert(5, keys | {"recorded_ns": START_NS})


def lottery(lines: Lines) -> None:
    del lines[2]["reading"]
    lines[2]["event"] = {"name": "lottery", "intensity": 1.0}


def of_reading(**keys: object) -> Callable[[Lines], None]:
    def change(lines: Lines) -> None:
        lines[2]["reading"].update(keys)

    return change


BROKEN: list[tuple[str, Callable[[Lines], object], int, str]] = [
    ("another format", changed(1, format="other"), 1, "format"),
    ("a later version", changed(1, version=2), 1, "version"),
    ("a temperament that is none", changed(1, temperament_text="x = 1"), 1, "temperament_digest"),
    ("an opening that comes late", lambda lines: lines.insert(0, lines[1]), 1, "opening"),
    ("a second opening", lambda lines: lines.insert(4, lines[0]), 5, "opening"),
    ("an unknown key", changed(2, mood="fine"), 2, "mood"),
    ("a missing key", without(2, "text"), 2, "text"),
    ("an unknown kind", changed(2, fact="dream"), 2, "fact"),
    ("an id that is none", changed(2, turn_id="a b"), 2, "turn_id"),
    ("a number for a text", changed(2, text=7), 2, "text"),
    ("a NUL", changed(2, text="a\x00b"), 2, "text"),
    ("an unknown parent", changed(2, parent_turn_id="nowhere"), 2, "parent_turn_id"),
    ("its own parent", changed(2, parent_turn_id="t0"), 2, "parent_turn_id"),
    ("a turn twice", lambda lines: lines.insert(5, lines[1]), 6, "turn_id"),
    ("a stimulus twice", lambda lines: lines.insert(5, lines[2]), 6, "stimulus_id"),
    ("a stimulus at no turn", changed(3, turn_id="nowhere"), 3, "turn_id"),
    ("an axis out of range", of_reading(valence=1.5), 3, "reading.valence"),
    ("an axis that is no number", of_reading(tension="high"), 3, "reading.tension"),
    ("an axis that is not finite", of_reading(tension=math.nan), 3, "reading.tension"),
    ("an axis that is infinite", of_reading(intimacy=-math.inf), 3, "reading.intimacy"),
    ("an emotion twice", of_reading(emotions=[{"label": "joy", "probability": 0.5, "active": True}] * 2), 3, "emotions"),
    ("neither reading nor event", without(3, "reading"), 3, "reading or an event"),
    ("an unknown event", lottery, 3, "event.name"),
    ("the future", changed(2, occurred_ns=START_NS + 3_600 * NS_PER_S), 2, "occurred_ns"),
    ("the distant past", changed(2, occurred_ns=17), 2, "occurred_ns"),
    ("a retraction of nothing", more(fact="retraction", stimulus_id="x"), 6, "stimulus_id"),
    ("an end of no pause", more(fact="resumption", pause_id="x", from_ns=START_NS), 6, "pause_id"),
    ("a rewind to nowhere", more(fact="rewind", rewind_id="x", turn_id="x"), 6, "turn_id"),
    ("a line lost in the middle", lambda lines: lines.pop(18), 20, "number of facts"),
    ("the end lost", lambda lines: lines.pop(), 20, "the end is missing"),
    ("something after the end", lambda lines: lines.append(lines[1]), 22, "after the end"),
    ("nothing at all", lambda lines: lines.clear(), 0, "json_line"),
]  # fmt: skip


async def test_a_line_that_cannot_be_used_is_named_and_nothing_is_recorded(engine: Running) -> None:
    await lived(engine)
    good = await exported(engine)
    await engine.stub.DeleteSession(state_pb2.DeleteSessionRequest(session_id="s"))
    for name, breaks, number, says in BROKEN:
        lines = [json.loads(line) for line in good]
        breaks(lines)
        failure = await refused(taken(engine, [json.dumps(line) for line in lines]))
        check_refusal(failure, name, number, says)
    for text in ("", "{", "[1, 2]", "null", "7", '{"fact":"turn"', "\ufeff{}"):
        failure = await refused(taken(engine, [good[0], text, *good[2:]]))
        check_refusal(failure, text, 2, "")
    failure = await refused(engine.stub.GetState(state_pb2.GetStateRequest(session_id="s")))
    assert failure.reason == "SESSION_NOT_FOUND"
    assert not (await taken(engine, good)).existed


def check_refusal(failure: RpcFailure, name: str, number: int, says: str) -> None:
    assert failure.code is grpc.StatusCode.INVALID_ARGUMENT, (name, failure)
    assert failure.metadata["field"] == "json_line", name
    assert failure.metadata.get("line", "0") == str(number), (name, failure)
    assert says in failure.message, (name, failure)
    assert "words of" not in failure.message


async def test_a_session_that_is_too_long_is_refused_whole(
    journal_path: Path, clock: SetClock, engine: Running
) -> None:
    await lived(engine)
    lines = await exported(engine)
    small = StateSettings(facts_per_session=10)
    async with running_engine(journal_path.with_name("other.sqlite3"), clock, small) as other:
        failure = await refused(taken(other, lines))
        assert (failure.code, failure.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "LIMIT_EXCEEDED")
        failure = await refused(other.stub.GetState(state_pb2.GetStateRequest(session_id="s")))
        assert failure.reason == "SESSION_NOT_FOUND"


async def test_what_does_not_exist_cannot_be_exported(engine: Running) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await exported(engine, "nowhere")
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND
