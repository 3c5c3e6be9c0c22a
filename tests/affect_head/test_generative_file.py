"""What a generative head's file must say, and which files are refused with which sentence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from limbic.runtime.settings import AffectSettings
from services.affect_head.encoder import EncoderHead
from services.affect_head.errors import HeadFileError
from services.affect_head.generative.file import read_generative_file
from services.affect_head.generative.head import GenerativeHead
from services.affect_head.gguf_fields import GgufFields
from services.affect_head.loading import open_head
from tests.affect_head.tiny_language_model import CHAT_TEMPLATE, head_fields, write_language_model


def refusal(path: Path) -> str:
    with pytest.raises(HeadFileError) as caught:
        GenerativeHead(path, sha256="", threads=1).close()
    return caught.value.problem


def test_a_trained_head_says_what_it_is(tmp_path: Path) -> None:
    path = write_language_model(tmp_path / "head.gguf", fields=head_fields())

    file = read_generative_file(GgufFields(path))

    assert file.words is not None
    assert file.words.opening == "How?\n"
    assert file.words.text_opening == ""
    assert file.words.questions == ("pleasant:", "close:", "tense:")
    assert file.sigma_scale == (1.0, 1.5, 2.0)
    assert (file.context_turns, file.reason_tokens, file.trained_tokens) == (2, 12, 2048)


def test_an_untrained_instruct_model_has_no_calibration_and_no_context(tmp_path: Path) -> None:
    path = write_language_model(tmp_path / "some-instruct.gguf", fields={"tokenizer.chat_template": CHAT_TEMPLATE})
    head = GenerativeHead(path, sha256="", threads=1)

    assert head.card.identity.id == "instruct:some-instruct"
    assert head.card.identity.calibration == "none"
    assert head.card.context.turns == 0
    head.close()


@pytest.mark.parametrize("architecture", ["qwen3", "llama"])
def test_a_file_that_holds_an_adapter_only_is_refused_with_what_to_do(tmp_path: Path, architecture: str) -> None:
    fields = {"general.type": "adapter", f"{architecture}.context_length": None, "adapter.lora.alpha": 16.0}
    path = write_language_model(tmp_path / "adapter.gguf", architecture, fields, tensors=False)

    assert refusal(path) == (
        f"{architecture}.context_length is missing: it holds an adapter only; merge it into its base and export the whole model"
    )


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"affect.schema_version": 9}, "affect.schema_version is 9; this program knows 1 and 2"),
        ({"affect.schema_version": 2}, "affect.calibration.confidence_weights is missing"),
        ({"affect.kind": "encoder"}, "affect.kind is 'encoder'; a language model can only be a 'generative' head"),
        ({"affect.kind": None}, "affect.kind is missing"),
        ({"affect.axes": ["valence", "tension", "intimacy"]}, "affect.axes is valence, tension, intimacy"),
        ({"affect.normalizer": "rot13"}, "affect.normalizer is 'rot13'; known: ascii-v1, one-line-v1"),
        ({"affect.context_turns": 3}, "affect.context_turns is 3; 0 to 2 can be served"),
        ({"affect.calibration.sigma_scale": [1.0, 0.0, 1.0]}, "affect.calibration.sigma_scale holds 0"),
        ({"affect.generative.opening": None}, "affect.generative.opening is missing"),
        ({"affect.generative.questions": ["pleasant:", "close:"]}, "affect.generative.questions has 2 entries; 3 are"),
        ({"affect.generative.levels": ["1"]}, "affect.generative.levels has 1 entries; at least 2 are needed"),
        ({"affect.generative.levels": ["9", "10"]}, "does not write the digit 10 after 'pleasant:' as one token"),
        ({"affect.generative.reason_tokens": 100}, "affect.generative.reason_tokens is 100; 0 to 64 can be served"),
        ({"affect.provenance": "[]"}, "affect.provenance is no JSON object"),
        ({"qwen3.context_length": 24}, "a window of 24 tokens leaves no room for a message"),
    ],
)
def test_a_head_that_contradicts_itself_is_refused(tmp_path: Path, changes: dict[str, Any], sentence: str) -> None:
    path = write_language_model(tmp_path / "bad.gguf", fields=head_fields() | changes)

    assert sentence in refusal(path)


@pytest.mark.parametrize(
    ("template", "sentence"),
    [
        (None, "it is neither a trained head"),
        ("{{ raise_exception('no system message') }}", "its chat template fails (no system message)"),
        ("{{ nothing.at.all }}", "its chat template fails ("),
        ("{% for m in messages %}{{ m.role }}{% endfor %}", "its chat template does not write a message exactly once"),
        ("{% for m in messages %}{{ m.content + m.content }}{% endfor %}", "does not write a message exactly once"),
    ],
)
def test_an_instruct_model_without_a_usable_template_is_refused(
    tmp_path: Path, template: str | None, sentence: str
) -> None:
    path = write_language_model(tmp_path / "bad.gguf", fields={"tokenizer.chat_template": template})

    assert sentence in refusal(path)


def test_the_file_decides_which_kind_of_head_is_opened(tmp_path: Path, head_path: Path) -> None:
    generative = write_language_model(tmp_path / "head.gguf", fields=head_fields())

    kinds = []
    for path in (head_path, generative):
        head = open_head(AffectSettings().model_copy(update={"model": str(path)}))
        kinds.append(type(head))
        head.close()

    assert kinds == [EncoderHead, GenerativeHead]
