"""A file that would read wrongly, or end the process inside llama.cpp, is refused with a sentence."""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from limbic.runtime.llama import LlamaError
from services.affect_head.encoder import EncoderHead
from services.affect_head.errors import HeadFileError
from services.affect_head.head_file import read_head_file
from tests.affect_head.tiny_head import EMOTIONS, HeadSpec, write_head

SPEC = HeadSpec()


def test_a_whole_file_is_read(head_path: Path) -> None:
    file = read_head_file(head_path)

    assert dataclasses.astuple(file.identity) == ("tiny-random", "F32", "test-1")
    assert file.emotions == EMOTIONS
    assert file.outputs == tuple(SPEC.outputs)
    assert file.sigma_scale == (1.0, 1.5, 2.0)
    assert file.window == 512


def test_version_2_brings_weights_for_each_axis(tmp_path: Path) -> None:
    weights = [float(number) for number in range(15)]
    fields = {"affect.schema_version": 2, "affect.calibration.confidence_weights": weights}

    file = read_head_file(write_head(tmp_path / "head.gguf", HeadSpec(fields=fields)))

    assert file.confidence_weights == (tuple(weights[:5]), tuple(weights[5:10]), tuple(weights[10:]))


@pytest.mark.parametrize("quantization", ["F16", "Q8_0", "Q4_0"])
def test_every_quantization_is_named_and_loads(tmp_path: Path, quantization: str) -> None:
    path = write_head(tmp_path / "head.gguf", HeadSpec(quantization=quantization))

    head = EncoderHead(path, sha256="", threads=1)

    assert head.card.identity.quantization == quantization
    head.close()


def without_last(values: list[str]) -> list[str]:
    return values[:-1]


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"general.architecture": "llama"}, "architecture is 'llama'"),
        ({"bert.context_length": None}, "adapter only"),
        ({"bert.context_length": 2}, "bert.context_length is 2"),
        ({"bert.attention.head_count": 0}, "bert.attention.head_count is 0"),
        ({"bert.attention.head_count": 3}, "no multiple of"),
        ({"bert.attention.causal": True}, "causal is true"),
        ({"bert.attention.causal": None}, "bert.attention.causal is missing"),
        ({"bert.attention.layer_norm_epsilon": float("nan")}, "above zero"),
        ({"bert.pooling_type": 1}, "not 4 (RANK)"),
        ({"bert.classifier.pooling_type": 2}, "not 1 (MEAN)"),
        ({"bert.classifier.pooling_type": None}, "bert.classifier.pooling_type is missing"),
        ({"bert.classifier.output_labels": without_last(SPEC.outputs)}, "do not agree on log_variance.tension"),
        ({"bert.classifier.output_labels": [*SPEC.outputs[:-1], SPEC.outputs[0]]}, "one string twice"),
        ({"tokenizer.ggml.model": "gpt2"}, "tokenizer.ggml.model is 'gpt2'"),
        ({"tokenizer.ggml.tokens": None}, "tokenizer.ggml.tokens is missing"),
        ({"tokenizer.ggml.token_type": [1, 1]}, "one entry for each"),
        ({"tokenizer.ggml.token_type_count": None}, "tokenizer.ggml.token_type_count is missing"),
        ({"tokenizer.ggml.seperator_token_id": 10_000}, "vocabulary has"),
        ({"tokenizer.ggml.unknown_token_id": 10_000}, "vocabulary has"),
        ({"affect.schema_version": 3}, "affect.schema_version is 3; this program knows 1 and 2"),
        ({"affect.schema_version": 2}, "affect.calibration.confidence_weights is missing"),
        (
            {"affect.schema_version": 2, "affect.calibration.confidence_weights": [0.0] * 14},
            "affect.calibration.confidence_weights has 14 entries; 15 are needed",
        ),
        ({"affect.schema_version": None}, "affect.schema_version is missing"),
        ({"affect.head_id": None}, "affect.head_id is missing"),
        ({"affect.head_id": 7}, "affect.head_id is not a string"),
        ({"affect.emotions": ["joy"]}, "do not agree"),
        ({"affect.emotion_thresholds": [0.5]}, "affect.emotion_thresholds has 1 entries; 4"),
        ({"affect.emotion_thresholds": [0.5, 0.5, 0.5, float("nan")]}, "affect.emotion_thresholds holds nan"),
        ({"affect.axes": ["valence", "tension", "intimacy"]}, "affect.axes is valence, tension, intimacy"),
        ({"affect.axis_activation": "relu"}, "'relu'"),
        ({"affect.calibration.sigma_scale": [1.0, 1.0, 0.0]}, "affect.calibration.sigma_scale holds 0"),
        ({"affect.calibration.confidence_tolerance": 0.0}, "above zero"),
        ({"affect.calibration.version": None}, "affect.calibration.version is missing"),
        ({"affect.context_turns": 3}, "affect.context_turns is 3"),
        ({"affect.context_text_tokens": 0}, "affect.context_text_tokens is 0; 1 to 512"),
        ({"affect.context_turn_tokens": 513}, "affect.context_turn_tokens is 513; 1 to 512"),
        ({"affect.normalizer": "utf8-v9"}, "affect.normalizer is 'utf8-v9'"),
        ({"affect.provenance": "[]"}, "affect.provenance is no JSON object"),
        ({"affect.provenance": "{"}, "affect.provenance is no JSON object"),
        ({"general.file_type": 9_999}, "names no quantization"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_metadata_that_cannot_be_served_is_refused(tmp_path: Path, fields: dict[str, Any], sentence: str) -> None:
    path = write_head(tmp_path / "head.gguf", HeadSpec(fields=fields))

    with pytest.raises(HeadFileError, match=r"head\.gguf cannot be served") as caught:
        read_head_file(path)

    assert sentence in caught.value.problem


@pytest.mark.parametrize(
    ("tensors", "sentence"),
    [
        ({"cls.weight": None}, "cls.weight is missing"),
        ({"cls.output.bias": None}, "cls.output.bias is missing"),
        ({"token_types.weight": np.zeros((2, 64), np.float16)}, "token_types.weight is F16"),
        ({"position_embd.weight": np.zeros((512, 64), np.float16)}, "position_embd.weight is F16"),
        ({"blk.1.attn_q.bias": np.zeros(64, np.float16)}, "blk.1.attn_q.bias is F16"),
        ({"blk.0.layer_output_norm.weight": np.zeros(64, np.float16)}, "layer_output_norm.weight is F16"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_tensors_that_would_end_the_process_are_refused(tmp_path: Path, tensors: dict[str, Any], sentence: str) -> None:
    path = write_head(tmp_path / "head.gguf", HeadSpec(tensors=tensors))

    with pytest.raises(HeadFileError) as caught:
        read_head_file(path)

    assert sentence in caught.value.problem


@pytest.mark.parametrize(
    "tensors",
    [
        {"cls.weight": np.zeros((32, 64), np.float32)},
        {"cls.output.weight": np.zeros((3, 64), np.float32)},
        {"token_embd.weight": np.zeros((10, 64), np.float32)},
        {"position_embd.weight": np.zeros((10, 64), np.float32)},
        {"blk.1.ffn_up.weight": None},
        {"blk.7.ffn_up.weight": np.zeros((128, 64), np.float32)},
    ],
    ids=lambda value: next(iter(value)),
)
def test_tensors_of_another_size_are_refused_by_llama_cpp_without_harm(tmp_path: Path, tensors: dict[str, Any]) -> None:
    path = write_head(tmp_path / "head.gguf", HeadSpec(tensors=tensors))

    with pytest.raises(LlamaError, match="could not load"):
        EncoderHead(path, sha256="", threads=1)


def test_a_file_that_is_cut_short_is_refused(tmp_path: Path, head_path: Path) -> None:
    whole = head_path.read_bytes()
    for length in (3, 40, 2_000, len(whole) // 2, len(whole) - 64):
        path = tmp_path / f"cut-{length}.gguf"
        path.write_bytes(whole[:length])

        with pytest.raises(HeadFileError, match="no whole GGUF file"):
            read_head_file(path)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(HeadFileError, match="no whole GGUF file"):
        read_head_file(tmp_path / "nothing.gguf")


def test_a_file_with_other_bytes_in_its_header_is_refused_or_read_but_never_harms(
    tmp_path: Path, head_path: Path
) -> None:
    random = np.random.default_rng(5)
    for round_ in range(100):
        path = tmp_path / f"{round_}.gguf"
        shutil.copy(head_path, path)
        with path.open("r+b") as file:
            file.seek(int(random.integers(4, 3_000)))
            file.write(bytes([int(random.integers(0, 256))]))
        with contextlib.suppress(HeadFileError):
            read_head_file(path)
