"""Words, what each gives, and the sentence made from that."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from services.affect_head.explain import Contribution, Word, contribution, sentence_of, without, words_of
from services.affect_head.head import Axes


def entry(word: str, valence: float = 0.0, intimacy: float = 0.0, tension: float = 0.0) -> Contribution:
    return Contribution(Word(word, 0), Axes(valence, intimacy, tension))


def test_offsets_count_code_points() -> None:
    assert words_of("😀 naïve  ¿qué?\n👩‍👧 end") == [
        Word("😀", 0), Word("naïve", 2), Word("¿qué?", 9), Word("👩‍👧", 15), Word("end", 19),
    ]  # fmt: skip


@given(st.text())
def test_words_are_exactly_what_is_not_white_space(text: str) -> None:
    words = words_of(text)

    assert [word.text for word in words] == text.split()
    for word in words:
        assert text[word.offset : word.offset + len(word.text)] == word.text
        assert without(text, word) == text[: word.offset] + text[word.offset + len(word.text) :]
        assert len(without(text, word)) == len(text) - len(word.text)


def test_a_contribution_is_the_whole_less_the_rest() -> None:
    result = contribution(Word("not", 4), Axes(-0.5, 0.25, 0.5), Axes(0.5, 0.25, -0.25))

    assert result == Contribution(Word("not", 4), Axes(-1.0, 0.0, 0.75))


def test_the_sentence_tells_the_three_largest_first() -> None:
    entries = [entry("I", 0.1), entry("hate", -0.6, 0.0, 0.4), entry("you", 0.0, 0.3, 0.2)]

    assert sentence_of(entries) == (
        "“hate” makes it more unpleasant (valence -0.60), “hate” makes it more tense (tension +0.40) "
        "and “you” makes it closer (intimacy +0.30)."
    )


def test_a_sentence_with_one_part_and_with_none() -> None:
    assert sentence_of([entry("bye!", 0.0, -0.5)]) == "“bye” makes it more distant (intimacy -0.50)."
    assert sentence_of([entry("the", 0.01)]) == "No single word moves the reading much."
    assert sentence_of([]) == "No single word moves the reading much."
