"""Runs one scripted conversation through a system, at moments of its own choosing, and reads what became of the levels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from limbic.probes.hearing import Heard
from limbic.probes.levels import Course, Reading
from limbic.probes.midspan import SpanCourse, SpanSeen
from limbic.probes.script import Conversation
from limbic.probes.spans import Span
from limbic.probes.system import System
from limbic.probes.validation import Seen
from limbic.runtime.clock import NS_PER_S

MARGIN_NS = 60 * NS_PER_S
"""By how much a conversation has ended before it is run: all of its moments must have come already."""
JUST_BEFORE_NS = 1_000_000
"""A millisecond."""


@dataclass(frozen=True, slots=True)
class Said:
    """One thing to be said: its id, the words, and when."""

    turn_id: str
    text: str
    at_ns: int


async def run_script(system: System, session_id: str, script: Conversation, now_ns: int) -> Seen:
    """Run a conversation of `affect-validation`. The session is there already.

    Raises:
        CallError: a call failed.
    """
    gaps_ns = [round(turn.gap_s * NS_PER_S) for turn in script.turns]
    gaps_ns[0] = 0
    began = now_ns - sum(gaps_ns) - MARGIN_NS
    said, at = [], began
    for index, (turn, gap_ns) in enumerate(zip(script.turns, gaps_ns, strict=True)):
        if turn.announced and index:
            await system.pause(session_id, at, at + gap_ns)
        at += gap_ns
        said.append(Said(f"t{index + 1}", turn.says, at))
    heard = await say_all(system, session_id, said)
    moments = [moment for one in said for moment in (one.at_ns - JUST_BEFORE_NS, one.at_ns)]
    curve = await system.curve(session_id, said[-1].turn_id, moments, [turn.reader for turn in script.turns])
    return Seen(
        [one.reading for one in heard],
        Course([point.recorded for point in curve[::2]], [point.recorded for point in curve[1::2]]),
        Course([point.replayed for point in curve[::2]], [point.replayed for point in curve[1::2]]),
    )


async def run_span(system: System, session_id: str, span: Span, now_ns: int, said_one: Callable[[], None]) -> SpanSeen:
    """Run a conversation of `mid-span`. `said_one` is called after each turn.

    Raises:
        CallError: a call failed.
    """
    end_s = max((*span.tail_s, 0.0)) + span.at_s[-1]
    began = now_ns - round(end_s * NS_PER_S) - MARGIN_NS
    said = [
        Said(f"t{index + 1}", text, began + round(at_s * NS_PER_S))
        for index, (text, at_s) in enumerate(zip(span.says, span.at_s, strict=True))
    ]
    heard = await say_all(system, session_id, said, said_one)
    moments = [moment for one in said for moment in (one.at_ns - JUST_BEFORE_NS, one.at_ns)]
    tail = [said[-1].at_ns + round(tail_s * NS_PER_S) for tail_s in span.tail_s]
    curve = await system.curve(session_id, said[-1].turn_id, moments + tail, span.readers)
    spoken, silent = curve[: len(moments)], curve[len(moments) :]
    return SpanSeen(
        [one.reading for one in heard],
        SpanCourse(
            [point.recorded for point in spoken[::2]],
            [point.recorded for point in spoken[1::2]],
            [point.recorded for point in silent],
            [point.moods for point in spoken[1::2]],
        ),
        SpanCourse(
            [point.replayed for point in spoken[::2]],
            [point.replayed for point in spoken[1::2]],
            [point.replayed for point in silent],
            [point.replayed_moods for point in spoken[1::2]],
        ),
    )


async def say_all(
    system: System, session_id: str, said: Sequence[Said], said_one: Callable[[], None] = lambda: None
) -> list[Heard]:
    """Say everything in order, each turn after the one before it. Nothing waits for replies, and none becomes part of the path.

    Raises:
        CallError: a turn was refused.
    """
    heard, parent = [], ""
    for one in said:
        heard.append(await system.say(session_id, one.turn_id, one.text, parent_turn_id=parent, said_at_ns=one.at_ns))
        parent = one.turn_id
        said_one()
    await system.until_known(session_id, parent)
    return heard


def read_of(readings: Sequence[Reading | None]) -> list[dict[str, float] | None]:
    """Return readings as numbers for a report."""
    return [
        None
        if one is None
        else {
            "valence": one.valence,
            "intimacy": one.intimacy,
            "tension": one.tension,
            "confidence": one.confidence,
        }
        for one in readings
    ]
