from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from limbic.probes.clauses import Margins, holds, parse_clauses
from limbic.probes.errors import SuiteError
from limbic.probes.levels import AT_REST, HORMONES, Course

MARGINS = Margins(visible=1.0, unseen=2.0, stands=2.0, apart=0.5, held=1.0)

levels = st.floats(-60.0, 60.0)
hormones = st.sampled_from(HORMONES)


def course(*oxytocin: tuple[float, float]) -> Course:
    """Return a course of which only oxytocin moves: for each turn where it stands just before and right after."""
    before = [{**AT_REST, "oxytocin": before} for before, _ in oxytocin]
    return Course(before, [{**AT_REST, "oxytocin": after} for _, after in oxytocin])


def holds_last(text: str, seen: Course, *, just_before: bool = False) -> bool:
    turn = len(seen.after) - 1
    return all(holds(one, seen, turn, MARGINS, just_before=just_before) for one in parse_clauses(text, turn))


@pytest.mark.parametrize(
    ("text", "before", "after", "expected"),
    [
        ("oxytocin up", 0.0, 1.0, True),
        ("oxytocin up", 5.0, 5.9, False),
        ("oxytocin not up", 5.0, 7.0, True),
        ("oxytocin not up", 5.0, 7.1, False),
        ("oxytocin down", 5.0, 4.0, True),
        ("oxytocin not down", 5.0, 2.9, False),
        ("oxytocin above", 3.0, 2.0, True),
        ("oxytocin above", 3.0, 1.9, False),
        ("oxytocin below", 0.0, -2.0, True),
        ("oxytocin not below", 0.0, -2.1, False),
        ("oxytocin rest", 9.0, 2.0, True),
        ("all rest", 0.0, -2.1, False),
        ("oxytocin > dopamine", 0.0, 0.5, True),
        ("oxytocin < dopamine", 0.0, 0.5, False),
    ],
)
def test_a_clause_is_judged_by_its_margin(text: str, before: float, after: float, expected: bool) -> None:
    assert holds_last(text, course((before, after))) is expected


@pytest.mark.parametrize(
    ("text", "then", "now", "expected"),
    [
        ("oxytocin > @1", 5.0, 5.5, True),
        ("oxytocin > @1", 5.0, 5.4, False),
        ("oxytocin < @1", 5.0, 4.5, True),
        ("oxytocin held @1", 5.0, 4.0, True),
        ("oxytocin held @1", 5.0, 3.9, False),
        ("oxytocin less @1", 5.0, 4.0, True),
        ("oxytocin less @1", 5.0, 4.1, False),
        ("oxytocin less @1", 0.5, 0.5, True),
        ("oxytocin keeps @1", 8.0, 2.0, True),
        ("oxytocin keeps @1", 8.0, 1.9, False),
        ("oxytocin keeps @1", 8.0, -8.0, False),
    ],
)
def test_a_clause_compares_with_an_earlier_turn(text: str, then: float, now: float, expected: bool) -> None:
    seen = course((0.0, then), (now, 20.0))

    assert holds_last(text, seen, just_before=True) is expected


@given(hormones, levels, levels)
def test_up_and_down_exclude_each_other_and_one_of_up_and_not_up_holds(
    hormone: str, before: float, after: float
) -> None:
    seen = Course([{**AT_REST, hormone: before}], [{**AT_REST, hormone: after}])

    assert not (holds_last(f"{hormone} up", seen) and holds_last(f"{hormone} down", seen))
    assert holds_last(f"{hormone} up", seen) or holds_last(f"{hormone} not up", seen)


@given(levels, levels)
def test_judging_is_the_same_with_every_sign_turned(before: float, after: float) -> None:
    seen, turned = course((before, after)), course((-before, -after))

    for one, other in (("up", "down"), ("above", "below"), ("not up", "not down"), ("rest", "rest")):
        assert holds_last(f"oxytocin {one}", seen) == holds_last(f"oxytocin {other}", turned)


@given(levels, st.lists(levels, min_size=1, max_size=4))
def test_who_never_moved_has_held_and_is_nowhere_higher(level: float, others: list[float]) -> None:
    seen = course((0.0, level), *((level, level) for _ in others))

    assert holds_last("oxytocin held @1", seen)
    assert not holds_last("oxytocin > @1", seen)
    assert not holds_last("oxytocin < @1", seen)


@pytest.mark.parametrize(
    "text",
    [
        "oxytocin",
        "oxytocin sideways",
        "melatonin up",
        "oxytocin > melatonin",
        "oxytocin > @2",
        "oxytocin > @0",
        "oxytocin held dopamine",
        "all up",
        "not oxytocin up",
    ],
)
def test_what_is_no_clause_is_refused(text: str) -> None:
    with pytest.raises(SuiteError):
        parse_clauses(text, 1)


def test_all_rest_judges_every_hormone() -> None:
    assert [clause.hormone for clause in parse_clauses("all rest, oxytocin > @1", 1)] == [*HORMONES, "oxytocin"]
