from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from services.living_llm.control import ControlSpellings

SPELLINGS = st.lists(st.text(alphabet="<|a> ", min_size=2, max_size=5), max_size=5)


@given(spellings=SPELLINGS, text=st.text(alphabet="<|a> ", max_size=12))
def test_no_spelling_is_left(spellings: list[str], text: str) -> None:
    without = ControlSpellings(spellings).removed(text)

    assert not any(one in without for one in spellings)
    assert without == text or any(one in text for one in spellings)


def test_what_stood_around_one_may_be_one_together() -> None:
    assert ControlSpellings(["<|end|>"]).removed("Hi <|<|end|>end|>there") == "Hi there"


def test_a_single_character_is_left_alone() -> None:
    assert ControlSpellings(["?"]).removed("why?") == "why?"
