"""What a script expects of the levels at one turn, as short clauses, and whether it holds.

| clause | holds if |
|---|---|
| `oxytocin up` | the words raised it by `visible` or more; `not up`: not by more than `unseen` |
| `cortisol down` | they lowered it by as much; `not down` |
| `dopamine above` | afterwards it stands `stands` or more above its baseline; `not above`: no more than `unseen` |
| `dopamine below` | the same below it; `not below` |
| `all rest` | each stands within `unseen` of its baseline; a hormone's name instead of `all` judges that one |
| `oxytocin > @2` | it stands higher, by `apart` or more, than right after turn 2; `<`: lower |
| `oxytocin > dopamine` | it stands farther up from its own baseline than the other does from its own |
| `oxytocin held @2` | it stands where it stood right after turn 2, within `held` |
| `oxytocin less @2` | it is nearer to its baseline than right after turn 2, by `held` or more, or within that of it |
| `oxytocin keeps @2` | it is on the same side as right after turn 2, with a quarter or more of that distance |
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from limbic.probes.errors import SuiteError
from limbic.probes.levels import HORMONES, Course, Distances

Relation: TypeAlias = Literal["up", "down", "above", "below", "rest", "higher", "lower", "held", "less", "keeps"]

KEPT_SHARE = 0.25

_MOVES = re.compile(r"(\w+) (not )?(up|down|above|below)|(\w+) (rest)")
_COMPARES = re.compile(r"(\w+) (>|<|held|less|keeps) (?:@(\d+)|(\w+))")
_MOVED: dict[str, Relation] = {"up": "up", "down": "down", "above": "above", "below": "below"}
_COMPARED: dict[str, Relation] = {">": "higher", "<": "lower", "held": "held", "less": "less", "keeps": "keeps"}


@dataclass(frozen=True, slots=True)
class Margins:
    """How much is something, in level units.

    Attributes:
        visible: a change that counts as one.
        unseen: what is still nothing, where nothing is expected.
        stands: a distance from the baseline that counts as one.
        apart: how far apart two levels are at least of which one is higher.
        held: how far a level may be from where it is to have stayed.
    """

    visible: float
    unseen: float
    stands: float
    apart: float
    held: float


@dataclass(frozen=True, slots=True)
class Clause:
    """One expectation.

    Attributes:
        text: as the script says it.
        hormone: whose.
        relation: what of it.
        negated: whether the relation must not hold.
        turn: of the earlier turn that it is compared with, from 0; None if it is not.
        other: the hormone that it is compared with; empty if it is not.
    """

    text: str
    hormone: str
    relation: Relation
    negated: bool = False
    turn: int | None = None
    other: str = ""


def parse_clauses(text: str, turn: int) -> tuple[Clause, ...]:
    """Read a comma-separated list of clauses that belong to a turn, counted from 0.

    Raises:
        SuiteError: something is no clause, names no hormone, or compares with a turn that is not earlier.
    """
    return tuple(
        clause for part in text.split(",") if (words := " ".join(part.split())) for clause in _clauses(words, turn)
    )


def _clauses(text: str, turn: int) -> list[Clause]:
    if match := _MOVES.fullmatch(text):
        name, negated, moves, resting, rest = match.groups()
        if rest:
            names = HORMONES if resting == "all" else (resting,)
            return [Clause(f"{one} rest", _hormone(one, text), "rest") for one in names]
        return [Clause(text, _hormone(name, text), _MOVED[moves], negated is not None)]
    if match := _COMPARES.fullmatch(text):
        name, sign, number, other = match.groups()
        hormone, relation = _hormone(name, text), _COMPARED[sign]
        if other:
            if relation not in ("higher", "lower"):
                raise SuiteError(f"{text!r}: two hormones can be compared by > and < only")
            return [Clause(text, hormone, relation, other=_hormone(other, text))]
        if not 1 <= int(number) <= turn:
            raise SuiteError(f"{text!r}: turn {number} is not before this one, which is turn {turn + 1}")
        return [Clause(text, hormone, relation, turn=int(number) - 1)]
    raise SuiteError(f"{text!r} is no clause")


def _hormone(name: str, text: str) -> str:
    if name not in HORMONES:
        raise SuiteError(f"{text!r}: {name!r} is no hormone")
    return name


def holds(clause: Clause, course: Course, turn: int, margins: Margins, *, just_before: bool = False) -> bool:
    """Tell whether a clause holds at a turn.

    Args:
        clause: the expectation.
        course: how the levels moved.
        turn: the turn, from 0.
        margins: how much is something.
        just_before: judge the levels just before the turn's words instead of right after them.
    """
    here = (course.before if just_before else course.after)[turn]
    level = here[clause.hormone]
    match clause.relation:
        case "up" | "down":
            moved = level - course.before[turn][clause.hormone]
            return _beyond(moved if clause.relation == "up" else -moved, margins.visible, clause.negated, margins)
        case "above" | "below":
            return _beyond(level if clause.relation == "above" else -level, margins.stands, clause.negated, margins)
        case "rest":
            return abs(level) <= margins.unseen
        case relation:
            return _compares(relation, level, _other(clause, here, course.after), margins)


def _beyond(distance: float, least: float, negated: bool, margins: Margins) -> bool:
    return distance <= margins.unseen if negated else distance >= least


def _other(clause: Clause, here: Distances, after: Sequence[Distances]) -> float:
    return here[clause.other] if clause.turn is None else after[clause.turn][clause.hormone]


def _compares(relation: Relation, level: float, other: float, margins: Margins) -> bool:
    match relation:
        case "higher":
            return level - other >= margins.apart
        case "lower":
            return other - level >= margins.apart
        case "held":
            return abs(level - other) <= margins.held
        case "less":
            return abs(level) <= max(abs(other) - margins.held, margins.held)
        case _:
            return level * other > 0 and abs(level) >= KEPT_SHARE * abs(other)
