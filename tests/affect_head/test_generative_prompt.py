"""What people say cannot become a part of the prompt's own words."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import llama_cpp
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from limbic.runtime.llama import load_model
from services.affect_head.generative.prompt import Prompt
from services.affect_head.generative.prompt_format import PromptFormat, TemplateUnusableError, format_of_template
from services.affect_head.generative.vocabulary import Vocabulary
from tests.affect_head.tiny_language_model import (
    CHAT_TEMPLATE,
    CONTROL,
    USER_DEFINED,
    head_fields,
    vocabulary,
    write_language_model,
)

WORDS = PromptFormat(
    opening="<|im_start|>user\n", questions=("pleasant:", "close:", "tense:"), turn_opening="before: ",
    turn_closing="\n", text_opening="now: ", closing="<|im_end|>\n",
)  # fmt: skip
SPECIAL = {vocabulary().index(token) for token in (*CONTROL, *USER_DEFINED)}


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Vocabulary]:
    path: Path = write_language_model(tmp_path_factory.mktemp("vocabulary") / "head.gguf", fields=head_fields())
    model = load_model(path)
    yield Vocabulary(model)
    llama_cpp.llama_model_free(model)


said = st.lists(st.one_of(st.sampled_from([*CONTROL, *USER_DEFINED, "th", "\n"]), st.text(max_size=12))).map("".join)


@given(text=said)
@hypothesis_settings(max_examples=200, deadline=None)
def test_nothing_that_is_said_is_a_special_token_and_nothing_is_lost(words: Vocabulary, text: str) -> None:
    ids = words.said(text)

    assert not SPECIAL & set(ids)
    assert b"".join(map(words.piece, ids)) == text.encode()


def test_our_own_words_may_hold_special_tokens(words: Vocabulary) -> None:
    prompt = Prompt(WORDS, words, window=64)

    assert prompt.opening[0] == vocabulary().index("<|im_start|>")
    assert vocabulary().index("<|im_end|>") in prompt.lay_out("hi", ()).ids


@given(text=said, turns=st.lists(said, max_size=2), window=st.integers(24, 80))
@hypothesis_settings(max_examples=200, deadline=None)
def test_a_message_fits_its_window_and_keeps_its_end(
    words: Vocabulary, text: str, turns: list[str], window: int
) -> None:
    prompt = Prompt(WORDS, words, window=window)

    laid_out = prompt.lay_out(text, turns)

    whole = words.said(text)
    kept = min(len(whole), window - prompt.around)
    closing = len(words.written("<|im_end|>\n"))
    assert len(laid_out.ids) <= window
    assert laid_out.ids[-closing - kept : -closing] == whole[len(whole) - kept :]
    assert laid_out.truncated == (kept < len(whole))
    assert laid_out.blank == (not whole)


def test_a_chat_template_is_asked_for_one_user_message_without_thinking() -> None:
    made = format_of_template(CHAT_TEMPLATE, {"bos_token": "", "eos_token": "<|im_end|>"})

    assert made.opening.startswith("<|im_start|>user\nHow does the message below land")
    assert made.closing == "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"


def test_a_template_cannot_reach_into_this_process() -> None:
    with pytest.raises(TemplateUnusableError, match="is unsafe"):
        format_of_template("{{ messages[0].content }}{{ ''.__class__.__mro__ }}", {"bos_token": "", "eos_token": ""})
