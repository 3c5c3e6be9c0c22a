from __future__ import annotations

from collections.abc import Iterator

import llama_cpp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from limbic.runtime.llama import load_model
from limbic.runtime.models import find_model
from limbic.runtime.vocabulary import LlamaVocabulary


@pytest.fixture(scope="module")
def vocabulary() -> Iterator[LlamaVocabulary]:
    model = load_model(find_model("smollm2-135m-instruct").path)
    yield LlamaVocabulary(model)
    llama_cpp.llama_model_free(model)


# Of a few bytes SmolLM2 has no token: some control characters, and what the planes without any letters begin with.
@given(text=st.text(st.characters(max_codepoint=0x3FFFF, exclude_categories=["C"]), max_size=60))
def test_the_pieces_of_a_texts_tokens_are_its_bytes(vocabulary: LlamaVocabulary, text: str) -> None:
    ids = vocabulary.tokens(text, control=False)

    assert b"".join(map(vocabulary.piece, ids)) == text.encode()


def test_a_control_token_is_one_only_where_that_is_asked_for(vocabulary: LlamaVocabulary) -> None:
    (end,) = vocabulary.tokens("<|im_end|>", control=True)

    assert vocabulary.ends_generation(end)
    assert vocabulary.spelling(end) == vocabulary.eos_text == "<|im_end|>"
    assert vocabulary.piece(end) == b""
    assert vocabulary.attributes(end) & llama_cpp.LLAMA_TOKEN_ATTR_CONTROL
    apart = vocabulary.tokens("<|im_end|>", control=False)
    assert len(apart) > 1
    assert not any(map(vocabulary.ends_generation, apart))


def test_no_token_has_no_spelling(vocabulary: LlamaVocabulary) -> None:
    assert vocabulary.spelling(-1) == ""
