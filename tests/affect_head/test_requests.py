"""Every text is either refused with its field, or read."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from limbic.runtime.errors import InvalidArgumentError
from limbic.runtime.llama import AbortFlag
from services.affect_head.encoder import EncoderReader
from services.affect_head.head import MAX_CONTEXT_TURNS, Utterance
from services.affect_head.requests import MAX_CHARS, refuse_blank, utterance_of

printable = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=80)


@given(text=printable, context=st.lists(printable, max_size=MAX_CONTEXT_TURNS))
def test_plain_words_become_an_utterance_as_they_stand(text: str, context: list[str]) -> None:
    assert utterance_of(text, context) == Utterance(text, tuple(context))


@given(text=st.text(max_size=200), context=st.lists(st.text(max_size=20), max_size=4))
def test_anything_else_is_refused_with_a_field(text: str, context: list[str]) -> None:
    at_fault: str | None = None
    try:
        assert utterance_of(text, context) == Utterance(text, tuple(context))
    except InvalidArgumentError as error:
        at_fault = error.field
    bad_text = not text.strip() or "\x00" in text
    bad_turns = [f"context[{i}]" for i, turn in enumerate(context) if not turn.strip() or "\x00" in turn]
    bad = ["text"] * bad_text + ["context"] * (len(context) > MAX_CONTEXT_TURNS) + bad_turns
    assert at_fault == (bad[0] if bad else None)


@pytest.mark.parametrize("length", [MAX_CHARS, MAX_CHARS + 1])
def test_length_counts_code_points(length: int) -> None:
    text = "😀" * length
    if length <= MAX_CHARS:
        assert utterance_of(text, [text]).text == text
    else:
        with pytest.raises(InvalidArgumentError, match="at most 8,000"):
            utterance_of(text, [])


def test_words_that_the_head_cannot_read_are_refused(reader: EncoderReader) -> None:
    readable = reader.read(Utterance("love"), AbortFlag())

    assert refuse_blank(readable) is readable
    with pytest.raises(InvalidArgumentError, match="nothing that this head can read"):
        refuse_blank(reader.read(Utterance("\x01"), AbortFlag()))
