"""The scoring of `affect-validation`: what the head said, what the engine made of it, and which of the two a miss belongs to. Pure.

Each conversation is judged three times:

- **head**: what it said of each utterance against how a person would read it, by the sign of each axis that a person would be sure of;
- **engine**: the levels' clauses on the curve that the engine computes when each reading is replaced by the person's (a replay, which
  records nothing): what an engine would do that is handed the right reading;
- **whole**: the same clauses on what really happened.

So every clause that the whole misses has one address: the engine's where it fails under the person's readings too, else the head's.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal, TypeAlias

import numpy as np

from limbic.probes.clauses import Margins, holds
from limbic.probes.levels import AXES, Course, Reading
from limbic.probes.script import Conversation, Order, Reader, Triad

Address: TypeAlias = Literal["", "head", "engine", "unread"]

SURE = 0.35
"""From here on a person is sure of an axis's sign."""
NEUTRAL = 0.1
"""Up to here a person hears nothing on an axis."""


@dataclass(frozen=True, slots=True)
class HeadMargins:
    """How much is something on an axis, -1 to 1.

    Attributes:
        sign: a reading that counts as being on one side.
        neutral: what is still nothing, where a person hears nothing. Valence and tension.
        neutral_intimacy: the same of intimacy, on which everyday talk is distant.
        apart: how far apart two readings are at least of which one is higher.
    """

    sign: float
    neutral: float
    neutral_intimacy: float
    apart: float


@dataclass(frozen=True, slots=True)
class Seen:
    """What was seen of one conversation of n turns.

    Attributes:
        readings: what the head said of each, None where nothing came.
        course: how the levels moved.
        read_by_a_person: how they would have moved, had the head read as a person does.
    """

    readings: Sequence[Reading | None]
    course: Course
    read_by_a_person: Course


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was expected.

    Attributes:
        where: the conversation's name, or the triad's.
        turn: from 1; 0 for an order between the variants of a triad.
        part: whose expectation it was.
        what: a clause, an axis's sign, or an order.
        held: whether it came true.
        address: of a miss of the whole, whose it is; empty where there is none.
    """

    where: str
    turn: int
    part: Literal["head", "engine", "whole"]
    what: str
    held: bool
    address: Address = ""


def check_conversation(script: Conversation, seen: Seen, margins: Margins, head: HeadMargins) -> list[Check]:
    """Judge one conversation, turn by turn."""
    found = []
    for index, turn in enumerate(script.turns):
        reading, number = seen.readings[index], index + 1
        found += [Check(script.name, number, "head", what, held) for what, held in _signs(turn.reader, reading, head)]
        for just_before, clauses in ((True, turn.before), (False, turn.after)):
            for clause in clauses:
                what = f"before: {clause.text}" if just_before else clause.text
                whole, engine = (
                    holds(clause, course, index, margins, just_before=just_before)
                    for course in (seen.course, seen.read_by_a_person)
                )
                unread = any(one is None for one in seen.readings[: number - just_before])
                found.append(Check(script.name, number, "engine", what, engine, "" if engine else "engine"))
                found.append(Check(script.name, number, "whole", what, whole, _address(whole, engine, unread)))
    return found


def check_triad(triad: Triad, seen: Mapping[str, Seen], margins: Margins, head: HeadMargins) -> list[Check]:
    """Judge how a triad's variants are ordered at their last turn."""
    found = []
    unread = any(reading is None for one in seen.values() for reading in one.readings)
    for order in triad.head:
        values = [_last(seen[variant], order.what) for variant in (order.more, order.less)]
        held = values[0] - values[1] >= head.apart
        found.append(Check(triad.name, 0, "head", str(order), held, _address(held, True, unread)))
    for order in triad.levels:
        whole = _ordered(order, {name: one.course for name, one in seen.items()}, margins)
        engine = _ordered(order, {name: one.read_by_a_person for name, one in seen.items()}, margins)
        found.append(Check(triad.name, 0, "engine", str(order), engine, "" if engine else "engine"))
        found.append(Check(triad.name, 0, "whole", str(order), whole, _address(whole, engine, unread)))
    return found


def measures(checks: Sequence[Check], pairs: Sequence[tuple[Reader, Reading | None]]) -> dict[str, float]:
    """Return the suite's figures, by the name under which gates know them.

    Args:
        checks: all of them.
        pairs: each utterance's person's reading and the head's.
    """
    spoken = [check for check in checks if check.turn]
    ordered = [check for check in checks if not check.turn]
    figures = {
        "head.signs": _share(check.held for check in spoken if check.part == "head"),
        **{f"head.signs.{axis}": _share(_held(spoken, axis)) for axis in AXES},
        "head.order": _share(check.held for check in ordered if check.part == "head"),
        "engine.turns": _share(check.held for check in spoken if check.part == "engine"),
        "engine.order": _share(check.held for check in ordered if check.part == "engine"),
        "whole.turns": _share(check.held for check in spoken if check.part == "whole"),
        "whole.first_turns": _share(check.held for check in spoken if check.part == "whole" and check.turn == 1),
        "whole.later_turns": _share(check.held for check in spoken if check.part == "whole" and check.turn > 1),
        "whole.order": _share(check.held for check in ordered if check.part == "whole"),
        "unread": float(sum(reading is None for _, reading in pairs)),
    }
    missed = [check.address for check in checks if check.part == "whole" and not check.held]
    for address in ("head", "engine", "unread"):
        figures[f"misses.{address}"] = float(missed.count(address))
    figures["head.coupling"] = _coupling(pairs)
    for axis in AXES:
        figures[f"head.r.{axis}"] = _correlation(*_columns(pairs, axis))
    return figures


def by_topic(checks: Iterable[Check], topics: Mapping[str, str]) -> dict[str, dict[str, float]]:
    """Return for each topic the share of its checks that held, by part. `topics`: by conversation and triad."""
    grouped: dict[str, dict[str, list[bool]]] = {}
    for check in checks:
        grouped.setdefault(topics[check.where], {}).setdefault(check.part, []).append(check.held)
    return {topic: {part: _share(held) for part, held in parts.items()} for topic, parts in sorted(grouped.items())}


def _signs(reader: Reader, reading: Reading | None, margins: HeadMargins) -> list[tuple[str, bool]]:
    found = []
    for axis in AXES:
        expected = reader.axes[axis]
        if expected is None or NEUTRAL < abs(expected) < SURE:
            continue
        value = math.nan if reading is None else reading.axis(axis)
        if abs(expected) >= SURE:
            side = math.copysign(1.0, expected)
            found.append((f"{axis} {'+' if side > 0 else '-'}", value * side >= margins.sign))
        else:
            limit = margins.neutral_intimacy if axis == "intimacy" else margins.neutral
            found.append((f"{axis} 0", abs(value) <= limit))
    return found


def _address(whole: bool, engine: bool, unread: bool) -> Address:
    if whole:
        return ""
    if not engine:
        return "engine"
    return "unread" if unread else "head"


def _last(seen: Seen, axis: str) -> float:
    reading = seen.readings[-1]
    return math.nan if reading is None else reading.axis(axis)


def _ordered(order: Order, courses: Mapping[str, Course], margins: Margins) -> bool:
    more, less = (courses[variant].after[-1][order.what] for variant in (order.more, order.less))
    return more - less >= margins.apart


def _held(checks: Iterable[Check], axis: str) -> list[bool]:
    return [check.held for check in checks if check.part == "head" and check.what.startswith(axis)]


def _share(held: Iterable[bool]) -> float:
    values = list(held)
    return sum(values) / len(values) if values else math.nan


def _coupling(pairs: Sequence[tuple[Reader, Reading | None]]) -> float:
    """Return by how much more two axes go together in the head than in people: the largest excess of |r| over the pairs of axes.

    Of the suite's own words valence and intimacy correlate at +0.56 in people, since most of what is said to somebody close is kind. A head
    may tell them apart better than that; one that reads the one as the other has an excess of 0.44.
    """
    worst = -1.0
    for first, second in combinations(AXES, 2):
        both = [
            (reader, reading)
            for reader, reading in pairs
            if reading is not None and reader.axes[first] is not None and reader.axes[second] is not None
        ]
        people = [[_value(reader.axes[axis]) for reader, _ in both] for axis in (first, second)]
        said = [[reading.axis(axis) for _, reading in both] for axis in (first, second)]
        worst = max(worst, abs(_correlation(*said)) - abs(_correlation(*people)))
    return worst


def _columns(pairs: Sequence[tuple[Reader, Reading | None]], axis: str) -> tuple[list[float], list[float]]:
    both = [(reader.axes[axis], reading) for reader, reading in pairs if reading is not None]
    known = [(expected, reading) for expected, reading in both if expected is not None]
    return [expected for expected, _ in known], [reading.axis(axis) for _, reading in known]


def _value(expected: float | None) -> float:
    return 0.0 if expected is None else expected


def _correlation(first: Sequence[float], second: Sequence[float]) -> float:
    """Return Pearson's r; 0 where one of them does not vary, since it then says nothing about the other."""
    if len(first) < 2 or np.ptp(first) < 1e-9 or np.ptp(second) < 1e-9:
        return 0.0
    return float(np.corrcoef(first, second)[0, 1])
