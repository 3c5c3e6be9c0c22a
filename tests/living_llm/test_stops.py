from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from services.living_llm.reply_text import ReplyText
from services.living_llm.stops import StopMatcher

# A small alphabet, so that stops are found, overlap and are almost found.
TEXT = st.text(alphabet="ab\n", max_size=30)
STOPS = st.lists(st.text(alphabet="ab\n", min_size=1, max_size=4), max_size=4)


def naive(text: str, stops: list[str]) -> tuple[str, bool]:
    """Search the whole text at once."""
    found = [at for stop in stops if (at := text.find(stop)) >= 0]
    return (text[: min(found)], True) if found else (text, False)


@given(pieces=st.lists(TEXT, max_size=8), stops=STOPS)
def test_any_split_gives_what_a_search_of_the_whole_text_gives(pieces: list[str], stops: list[str]) -> None:
    matcher = StopMatcher(stops)

    passed = "".join(matcher.feed(piece) for piece in pieces) + matcher.finish()

    assert (passed, matcher.stopped) == naive("".join(pieces), stops)


@given(pieces=st.lists(TEXT, max_size=8), stops=STOPS)
def test_no_more_is_held_back_than_could_become_a_stop(pieces: list[str], stops: list[str]) -> None:
    matcher = StopMatcher(stops)
    fed = passed = ""

    for piece in pieces:
        fed += piece
        passed += matcher.feed(piece)
        held = fed[len(passed) :]
        assert matcher.stopped or not held or any(stop.startswith(held) and stop != held for stop in stops)


def test_a_stop_that_begins_a_longer_one_is_not_waited_on() -> None:
    matcher = StopMatcher(["END", "END OF REPLY"])

    assert matcher.feed("so END") == "so "
    assert matcher.stopped


@given(text=st.text(max_size=40), cuts=st.lists(st.integers(0, 160), max_size=10))
def test_characters_come_whole_however_their_bytes_are_cut(text: str, cuts: list[int]) -> None:
    data = text.encode("utf-8")
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    reply = ReplyText([])

    pieces = [reply.feed(data[start:end]) for start, end in itertools.pairwise(edges)]

    assert "".join(pieces) + reply.finish() == text.lstrip()
    assert all("\ufffd" not in piece for piece in pieces) or "\ufffd" in text


def test_a_character_that_is_cut_off_at_the_end_is_left_out() -> None:
    reply = ReplyText([])

    assert reply.feed("né".encode()[:-1]) + reply.finish() == "n"


def test_bytes_that_are_no_character_are_shown_as_one() -> None:
    reply = ReplyText([])

    assert reply.feed(b"a\xffb") + reply.finish() == "a\ufffdb"


def test_thoughts_are_not_said_and_a_stop_inside_them_ends_nothing() -> None:
    reply = ReplyText(["\n"])

    said = [reply.feed(piece) for piece in (b"<thi", b"nk>sad,\nI think", b"</think>\n\nOh", b" no.\n", b"And")]

    assert "".join(said) == "Oh no."
    assert reply.stopped


def test_white_space_before_the_first_word_goes_and_a_stop_in_it_counts() -> None:
    assert ReplyText([]).feed(b" \n Hi ") == "Hi "
    reply = ReplyText(["\n"])
    assert reply.feed(b" \nHi") == ""
    assert reply.stopped
