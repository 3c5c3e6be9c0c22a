from __future__ import annotations

import pytest

from training.text import content_key, to_ascii

SAMPLES = {
    "don\u2019t \u201cgo\u201d\u2026 now \u2014 please": 'don\'t "go"... now - please',
    "caf\u00e9 na\u00efve \u00dcber Stra\u00dfe": "cafe naive Uber Strasse",
    "I \u2764\ufe0f\u2764\ufe0f you": "I heavy black heart you",
    "ok \U0001f44d\U0001f3fd": "ok thumbs up sign",
    "\U0001f602\U0001f602 \U0001f602 stop \U0001f602": "face with tears of joy stop face with tears of joy",
    "a\u200bb\u00a0c\r\n\td\x07e": "ab c d e",
    "\u65e5\u672c\u8a9e": "",
    "\uff21\uff22 \ufb01ne": "AB fine",
    "  plain   text ": "plain text",
}


@pytest.mark.parametrize(("text", "expected"), SAMPLES.items())
def test_a_text_is_written_in_ascii_and_keeps_its_feeling(text: str, expected: str) -> None:
    assert to_ascii(text) == expected


@pytest.mark.parametrize("text", SAMPLES)
def test_writing_it_twice_changes_nothing(text: str) -> None:
    assert to_ascii(to_ascii(text)) == to_ascii(text)


def test_case_space_and_punctuation_do_not_make_another_content() -> None:
    assert content_key("Don\u2019t  GO!") == content_key("dont go") == content_key("D.o.n.t g-o")
    assert content_key("dont go 2") != content_key("dont go")


def test_a_text_of_marks_alone_has_no_content() -> None:
    assert content_key("...?!") == ""
