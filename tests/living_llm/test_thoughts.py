from __future__ import annotations

import itertools
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.living_llm.thoughts import ThoughtFilter

PIECES = st.sampled_from(["<think>", "</think>", "<", "think", "</", ">", " ", "\n", "Hello", "ü"])


def said(*pieces: str, thinking: bool = False) -> str:
    thoughts = ThoughtFilter(thinking=thinking)
    return "".join(map(thoughts.feed, pieces)) + thoughts.finish()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Hello!", "Hello!"),
        ("<think>She is sad.</think>\n\nOh no.", "Oh no."),
        ("\n <think>\n</think>Oh no.", "Oh no."),
        ("<think>one</think> <think>two</think> Oh no.", "Oh no."),
        ("<think>no end", ""),
        ("<think>no end</thin", ""),
        ("<think>all</think>", ""),
        ("She wrote <think> and </think>.", "She wrote <think> and </think>."),
        ("<thin", "<thin"),
        ("  <thing>", "  <thing>"),
        ("\n", "\n"),
        ("</think>Hm.", "</think>Hm."),
    ],
)
def test_thoughts_at_the_beginning_are_not_said(text: str, expected: str) -> None:
    assert said(text) == expected


def test_thoughts_that_the_prompt_has_opened_are_not_said_either() -> None:
    assert said("She is", " sad.</thi", "nk>\n\nOh no.", thinking=True) == "Oh no."


@given(text=st.lists(PIECES, max_size=12).map("".join), cuts=st.lists(st.integers(0, 60)), thinking=st.booleans())
def test_it_says_the_same_however_the_text_is_cut(text: str, cuts: list[int], thinking: bool) -> None:
    edges = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]

    found = said(*(text[a:b] for a, b in itertools.pairwise(edges)), thinking=thinking)

    whole = f"<think>{text}" if thinking else text
    begins = re.match(r"\s*<think>", whole)
    assert found == (re.sub(r"\A(\s*<think>.*?(</think>\s*|\Z))+", "", whole, flags=re.DOTALL) if begins else whole)


def test_thoughts_take_no_room_however_long_they_are() -> None:
    thoughts = ThoughtFilter(thinking=True)

    for _ in range(1000):
        thoughts.feed("hm " * 1000)

    assert len(thoughts._held) < 10
