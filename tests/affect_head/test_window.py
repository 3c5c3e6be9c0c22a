"""Laws of fitting words and context into the window."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from services.affect_head.window import CLS_AND_SEP, ContextRule, fit

CLS, SEP = -1, -2
tokens = st.lists(st.integers(0, 999), max_size=40)
turns = st.lists(st.lists(st.integers(1000, 1999), min_size=1, max_size=20), max_size=2)


def laid_out(text: list[int], context: list[list[int]], window: int) -> tuple[list[int], bool, int]:
    return fit(text, context, window=window, cls=CLS, sep=SEP)


def test_everything_that_fits_stands_in_order() -> None:
    assert laid_out([7, 8], [[1, 2], [3]], 10) == ([CLS, 1, 2, SEP, 3, SEP, 7, 8, SEP], False, 2)


def test_context_loses_its_oldest_tokens_first() -> None:
    assert laid_out([7, 8], [[1, 2], [3, 4]], 8) == ([CLS, 3, 4, SEP, 7, 8, SEP], False, 1)
    assert laid_out([7, 8], [[1, 2], [3, 4]], 9) == ([CLS, 2, SEP, 3, 4, SEP, 7, 8, SEP], False, 2)
    assert laid_out([7, 8], [[1, 2], [3, 4]], 6) == ([CLS, 4, SEP, 7, 8, SEP], False, 1)


def test_a_text_that_is_too_long_alone_keeps_its_end_and_no_context() -> None:
    assert laid_out([1, 2, 3, 4], [[9]], 5) == ([CLS, 2, 3, 4, SEP], True, 0)


@given(tokens, turns, st.integers(CLS_AND_SEP + 1, 64))
def test_laws(text: list[int], context: list[list[int]], window: int) -> None:
    ids, truncated, turns_read = laid_out(text, context, window)

    assert len(ids) <= window
    assert ids[0] == CLS
    assert ids[-1] == SEP
    assert truncated == (len(text) + CLS_AND_SEP > window)
    kept = len(text) if not truncated else window - CLS_AND_SEP
    words = text[len(text) - kept :]
    assert ids[len(ids) - 1 - kept : -1] == words
    assert turns_read == ids[1 : len(ids) - 1 - kept].count(SEP)
    if truncated:
        assert ids == [CLS, *words, SEP]
    whole = [token for turn in context for token in (*turn, SEP)]
    between = ids[1 : len(ids) - 1 - kept]
    assert between == whole[len(whole) - len(between) :]
    # No room is wasted on context that could have stood there, but for a place too small for a token and its [SEP].
    if not truncated and len(between) < len(whole):
        assert window - len(ids) <= 1


def letters(text: str) -> list[int]:
    return list(text.encode())


def test_short_words_are_read_with_the_last_turn_if_that_is_short() -> None:
    rule = ContextRule(turns=1, text_tokens=3, turn_tokens=5)

    assert rule.choose([1, 2, 3], ["older", "later"], letters) == [letters("later")]
    assert rule.choose([1, 2, 3, 4], ["older", "later"], letters) == []
    assert rule.choose([1, 2, 3], ["older", "longer"], letters) == []
    assert rule.choose([1, 2, 3], ["older", ""], letters) == []
    assert rule.choose([1, 2, 3], [], letters) == []


@given(
    st.integers(0, 2), st.integers(1, 9), st.integers(1, 9), tokens, st.lists(st.text("ab", max_size=12), max_size=2)
)
def test_what_a_rule_leaves_out_is_never_read(
    turns: int, text_tokens: int, turn_tokens: int, text: list[int], said: list[str]
) -> None:
    chosen = ContextRule(turns, text_tokens, turn_tokens).choose(text, said, letters)

    last = [letters(turn) for turn in said[len(said) - min(turns, len(said)) :]]
    allowed = [turn for turn in last if 0 < len(turn) <= turn_tokens]
    assert chosen == (allowed if len(text) <= text_tokens else [])
