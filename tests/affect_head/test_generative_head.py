"""The generative head through the real llama.cpp: the numbers that PyTorch gives, and nothing that harms."""

from __future__ import annotations

import codecs
import dataclasses
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import llama_cpp
import numpy as np
import psutil
import pytest
import torch
from transformers import AutoModelForCausalLM
from transformers.utils import logging as transformers_logging

from limbic.runtime.llama import AbortFlag
from limbic.runtime.models import find_model
from services.affect_head.generative.decoder import expected_values
from services.affect_head.generative.head import MAX_REASON_CHARS, GenerativeHead, GenerativeReader
from services.affect_head.head import Reading, ReadingAbortedError, Utterance
from tests.affect_head.tiny_language_model import SHAPES, head_fields, vocabulary, write_language_model

MIB = 1024 * 1024


@pytest.fixture(scope="module", params=list(SHAPES))
def model_path(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random head of each architecture."""
    folder = tmp_path_factory.mktemp("generative")
    return write_language_model(folder / f"{request.param}.gguf", request.param, head_fields())


@pytest.fixture
def head(model_path: Path) -> Iterator[GenerativeHead]:
    head = GenerativeHead(model_path, sha256="0" * 64, threads=1)
    yield head
    head.close()


@pytest.fixture
def reader(head: GenerativeHead) -> Iterator[GenerativeReader]:
    reader = head.open_reader()
    yield reader
    reader.close()


@pytest.fixture(scope="module")
def smollm() -> Iterator[GenerativeHead]:
    """The bundled instruct model, which nobody trained as a head."""
    head = GenerativeHead(find_model("smollm2-135m-instruct").path, sha256="0" * 64, threads=1)
    yield head
    head.close()


def read(reader: GenerativeReader, text: str, *context: str, wants_reason: bool = False) -> Reading:
    return reader.read(Utterance(text, context, wants_reason), AbortFlag())


def values(reading: Reading) -> Reading:
    """The reading without the time that it took."""
    return dataclasses.replace(reading, latency_s=0.0)


def torch_model(path: Path) -> Any:
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    # Of a qwen3 file, transformers does not read the heads' width.
    return AutoModelForCausalLM.from_pretrained(
        str(path.parent), gguf_file=path.name, dtype=torch.float32, head_dim=SHAPES[path.stem].head_width
    )


def ids_of(text: str) -> list[int]:
    """Byte-level ids with the two merges, `t h` before `h e`."""
    tokens = vocabulary()
    letters = [tokens[byte] for byte in text.encode()]
    for first, second in (("t", "h"), ("h", "e")):
        merged: list[str] = []
        for letter in letters:
            if merged and merged[-1] == first and letter == second:
                merged[-1] = first + second
            else:
                merged.append(letter)
        letters = merged
    return [tokens.index(letter) for letter in letters]


def torch_axes(model: Any, before: str) -> tuple[list[float], list[float]]:
    """Means and deviations as PyTorch gives them: one plain pass over the whole prompt for each axis, no cache and no batch."""
    rows = []
    for question in ("pleasant:", "close:", "tense:"):
        ids = ids_of(before) + ids_of(question)
        with torch.inference_mode():
            logits = model(torch.tensor([ids])).logits[0, -1]
        rows.append(logits[[ids_of(str(level))[0] for level in range(1, 10)]].numpy())
    means, spreads = expected_values(np.stack(rows))
    return means.tolist(), spreads.tolist()


@pytest.mark.parametrize("text", ["i love you", "the other day they went there", "x", "no, " * 60])
def test_axes_are_the_expected_values_of_pytorchs_digits(model_path: Path, reader: GenerativeReader, text: str) -> None:
    text = text.strip()
    means, spreads = torch_axes(torch_model(model_path), f"How?\n{text}\n")

    reading = read(reader, text)

    # llama.cpp keeps keys and values in float16.
    assert dataclasses.astuple(reading.axes) == pytest.approx(means, abs=5e-3)
    scaled = [spread * scale for spread, scale in zip(spreads, (1.0, 1.5, 2.0), strict=True)]
    assert dataclasses.astuple(reading.uncertainty) == pytest.approx(scaled, abs=5e-3)
    assert 0 < reading.confidence < 1


def test_earlier_turns_stand_before_the_words(model_path: Path, reader: GenerativeReader) -> None:
    means, _ = torch_axes(torch_model(model_path), "How?\nbefore: older\nbefore: newer\ni love you\n")

    assert dataclasses.astuple(read(reader, "i love you", "older", "newer").axes) == pytest.approx(means, abs=5e-3)


def test_the_reason_is_what_pytorch_says_greedily_after_the_answers(model_path: Path, reader: GenerativeReader) -> None:
    model = torch_model(model_path)
    digits = reader.digits("i love you", AbortFlag()).argmax(1)
    answers = "".join(
        f"{question}{digit + 1}\n" for question, digit in zip(("pleasant:", "close:", "tense:"), digits, strict=True)
    )
    ids = ids_of(f"How?\ni love you\n{answers}") + ids_of("why:")
    ends = {vocabulary().index(token) for token in ("<|im_end|>", "<|endoftext|>")}
    letters = vocabulary()
    said = b""
    for _ in range(12):
        with torch.inference_mode():
            token = int(model(torch.tensor([ids])).logits[0, -1].argmax())
        if token in ends:
            break
        ids.append(token)
        if letters[token] in letters[:256]:
            said += bytes([letters.index(letters[token])])
        elif letters[token] in ("th", "he"):
            said += letters[token].encode()
        if b"\n" in said:
            break
    # A character that was not finished is left out; what cannot be printed is a space.
    line = codecs.getincrementaldecoder("utf-8")("replace").decode(said).partition("\n")[0]
    expected = " ".join("".join(letter if letter.isprintable() else " " for letter in line).split())

    assert read(reader, "i love you", wants_reason=True).reasoning == expected


def test_no_reason_is_made_unless_it_is_wanted(reader: GenerativeReader) -> None:
    plain, explained = read(reader, "i love you"), read(reader, "i love you", wants_reason=True)

    assert plain.reasoning == ""
    assert values(dataclasses.replace(explained, reasoning="")) == values(plain)


def test_such_a_head_tells_no_emotions_and_says_so(head: GenerativeHead, reader: GenerativeReader) -> None:
    assert read(reader, "i love you").emotions == ()
    assert head.card.emotions == ()
    assert head.card.thresholds == ()
    assert dataclasses.astuple(head.card.identity) == ("tiny-generative", "F32", "test-1")


def test_same_words_same_bits_whatever_was_read_between(reader: GenerativeReader) -> None:
    first = values(read(reader, "i love you"))
    read(reader, "hate " * 900, "turn " * 300)
    read(reader, "why not", wants_reason=True)
    read(reader, "\x01")

    assert values(read(reader, "i love you")) == first


def test_readers_side_by_side_give_the_same_bits(head: GenerativeHead) -> None:
    texts = [f"word {number} i love you so much" for number in range(40)]
    readers = [head.open_reader() for _ in range(3)]
    expected = [values(read(readers[0], text)) for text in texts]

    with ThreadPoolExecutor(2) as threads:
        results = list(threads.map(lambda own: [values(read(own, text)) for text in texts], readers[1:]))

    assert results == [expected, expected]
    for own in readers:
        own.close()


def test_a_long_text_loses_its_beginning_and_says_so(reader: GenerativeReader) -> None:
    end = "x" * 511

    fits, too_long = read(reader, end), read(reader, "this goes first " + end)

    assert not fits.truncated
    assert too_long.truncated
    assert values(too_long) == dataclasses.replace(values(fits), truncated=True)


def test_earlier_turns_give_way_to_the_words_and_the_older_to_the_newer(reader: GenerativeReader) -> None:
    words = "x" * 400
    # 512 tokens less 400 of the words, 1 behind them and 9 around a turn.
    room = 512 - 400 - 1 - 9

    whole = read(reader, words, "lost", "y" * room)
    cut = read(reader, words, "lost", "z" + "y" * room)

    assert values(whole) == values(cut)
    assert values(whole) == values(read(reader, words, "y" * room))
    assert not cut.truncated


def test_an_aborted_reading_leaves_the_reader_usable(reader: GenerativeReader) -> None:
    before = values(read(reader, "i love you"))
    stop = AbortFlag()
    stop.set()

    with pytest.raises(ReadingAbortedError):
        reader.read(Utterance("word " * 100), stop)

    assert values(read(reader, "i love you")) == before


@pytest.mark.parametrize("stage", [1, 2])
def test_a_stop_inside_prefill_or_inside_the_reason_ends_it(
    smollm: GenerativeHead, monkeypatch: pytest.MonkeyPatch, stage: int
) -> None:
    reader = smollm.open_reader()
    before = values(read(reader, "i love you"))
    decoding = threading.Event()
    passes: list[int] = []
    decode = llama_cpp.llama_decode

    def noted_decode(*arguments: Any) -> int:
        if len(passes) == stage - 1:
            decoding.set()
        status = int(decode(*arguments))
        passes.append(status)
        return status

    monkeypatch.setattr(llama_cpp, "llama_decode", noted_decode)
    stop = AbortFlag()
    with ThreadPoolExecutor(1) as thread:
        reading = thread.submit(
            reader.read, Utterance("a long message, and no end of it; " * 60, wants_reason=True), stop
        )
        assert decoding.wait(60)
        stop.set()
        with pytest.raises(ReadingAbortedError):
            reading.result(60)
    monkeypatch.undo()

    # All that came before was done; the pass under way was given up, and none came after it.
    assert passes == [*[0] * (len(passes) - 1), 2]
    assert len(passes) >= stage
    assert values(read(reader, "i love you")) == before
    reader.close()


def test_an_opening_that_was_lost_is_computed_again(reader: GenerativeReader) -> None:
    before = values(read(reader, "i love you"))
    llama_cpp.llama_memory_clear(reader._context._memory, True)

    assert values(read(reader, "i love you")) == before


@pytest.mark.parametrize("text", ["", " ", "\x01\x02", "\u200b\u200d"])
def test_what_leaves_no_token_is_blank(reader: GenerativeReader, text: str) -> None:
    assert read(reader, text).blank


def test_an_instruct_model_is_asked_through_its_chat_template(smollm: GenerativeHead) -> None:
    reader = smollm.open_reader()

    readings = [values(read(reader, text)) for text in ("You are wonderful, thank you.", "Go away. I hate you.")]
    explained = read(reader, "Go away. I hate you.", wants_reason=True)

    assert readings[0] != readings[1]
    assert explained.reasoning
    assert len(explained.reasoning) <= MAX_REASON_CHARS
    assert "\n" not in explained.reasoning
    assert smollm.card.identity.calibration == "none"
    assert smollm.card.identity.quantization == "Q4_1"
    reader.close()


def test_memory_stays_flat(reader: GenerativeReader) -> None:
    process = psutil.Process()

    def work() -> None:
        stop = AbortFlag()
        stop.set()
        for number in range(60):
            read(reader, f"message {number} " * (number + 1), "an earlier turn", wants_reason=number % 5 == 0)
            with pytest.raises(ReadingAbortedError):
                reader.read(Utterance("stopped " * 40), stop)

    work()
    before = process.memory_info().rss
    work()

    assert process.memory_info().rss - before < 4 * MIB
