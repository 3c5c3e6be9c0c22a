from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from training.near_duplicates import SIMILARITY, near_duplicates, runs_of, similarity

LONG = "I still believe that we should have taken the earlier train to your mother's place on Sunday"


def test_a_changed_letter_or_word_of_a_long_text_is_found_and_another_text_is_not() -> None:
    texts = [
        LONG, "What a lovely garden you have", LONG.replace("Sunday", "sunday!!"), LONG.replace("earlier", "earlyer"),
        "So " + LONG, "We took the train to my mother's place", "what a garden",
    ]  # fmt: skip

    assert near_duplicates(texts) == {2: 0, 3: 0, 4: 0}


def test_a_chain_of_small_changes_does_not_take_everything_with_it() -> None:
    words = LONG.split()
    chain = [" ".join(words[n:]) for n in range(len(words) - 3)]

    found = near_duplicates(chain)

    assert 0 < len(found) < len(chain) - 1
    for later, earlier in found.items():
        assert earlier not in found
        assert similarity(runs_of(chain[later]), runs_of(chain[earlier])) >= SIMILARITY


def test_texts_without_letters_are_nobodys_duplicates() -> None:
    assert near_duplicates(["...", "!!!", "", ":)"]) == {}


@settings(max_examples=60)
@given(st.lists(st.text("abcdeABCDE ,.", max_size=40), max_size=8))
def test_what_is_found_is_really_alike_and_each_text_is_its_own_first(texts: list[str]) -> None:
    found = near_duplicates(texts)

    for later, earlier in found.items():
        assert earlier < later
        assert similarity(runs_of(texts[later]), runs_of(texts[earlier])) >= SIMILARITY
    # An exact repetition is always found.
    assert set(range(len(texts), 2 * len(texts))) - near_duplicates(texts + texts).keys() == {
        len(texts) + n for n, text in enumerate(texts) if not runs_of(text)
    }
