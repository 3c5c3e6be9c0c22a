"""The rule by which texts are written down is the one that the head was trained with."""

from __future__ import annotations

import sys
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.affect_head.normalizer import NORMALIZERS, to_ascii
from training import text as training_text


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("I’m “fine” — really…", 'I\'m "fine" - really...'),
        ("Café Ørsted, groß", "Cafe Orsted, gross"),
        ("  two\t lines\n", "two lines"),
        ("❤❤❤ you", "heavy black heart you"),
        ("\x01\x02", ""),
        ("привет", ""),
    ],
)
def test_examples(text: str, written: str) -> None:
    assert to_ascii(text) == written


@given(st.text())
def test_result_is_printable_ascii_and_stays_as_it_is(text: str) -> None:
    written = to_ascii(text)

    assert written.isascii()
    assert not written or written.isprintable()
    assert to_ascii(written) == written


@given(st.text())
def test_any_text_is_written_as_in_training(text: str) -> None:
    assert to_ascii(text) == training_text.to_ascii(text)


def test_every_character_is_written_as_in_training() -> None:
    characters = [
        chr(code) for code in range(sys.maxunicode + 1) if unicodedata.category(chr(code)) not in ("Cs", "Cn")
    ]
    different = [c for c in characters if to_ascii(f"a{c}b") != training_text.to_ascii(f"a{c}b")]

    assert different == []
    assert training_text.NORMALIZER in NORMALIZERS
