"""The encoder head through the real llama.cpp: right numbers, same bits, and no input that harms."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from limbic.runtime.llama import AbortFlag
from services.affect_head.decoder import Decoder
from services.affect_head.encoder import EncoderHead, EncoderReader
from services.affect_head.head import Reading, ReadingAbortedError, Utterance
from services.affect_head.head_file import read_head_file
from tests.affect_head.reference import forward
from tests.affect_head.tiny_head import HeadSpec, real_vocabulary, write_head

MIB = 1024 * 1024


def read(reader: EncoderReader, text: str, *context: str) -> Reading:
    return reader.read(Utterance(text, context), AbortFlag())


def values(reading: Reading) -> Reading:
    """The reading without the time that it took."""
    return dataclasses.replace(reading, latency_s=0.0)


def token_ids(spec: HeadSpec, *words: str) -> list[int]:
    return [spec.vocabulary.index(word) for word in ("[CLS]", *words, "[SEP]")]


@pytest.mark.parametrize(
    "words",
    [("i", "love", "you"), ("never", "again", "!"), ("word",) * 61, ("word",) * 62, ("love", "you") * 200],
    ids=len,
)
def test_outputs_are_those_of_the_network_written_out_in_numpy(
    head_path: Path, reader: EncoderReader, words: tuple[str, ...]
) -> None:
    spec = HeadSpec()
    outputs = forward(spec, token_ids(spec, *words))

    axes, sigma, confidence, emotions = Decoder(read_head_file(head_path)).decode(outputs)
    reading = read(reader, " ".join(words))

    # llama.cpp computes in float32, with a GELU table in float16.
    for got, expected in ((reading.axes, axes), (reading.uncertainty, sigma)):
        assert dataclasses.astuple(got) == pytest.approx(dataclasses.astuple(expected), abs=5e-3)
    assert reading.confidence == pytest.approx(confidence, abs=5e-3)
    probabilities = [emotion.probability for emotion in reading.emotions]
    assert probabilities == pytest.approx([emotion.probability for emotion in emotions], abs=5e-3)


def test_a_text_that_looks_like_special_tokens_is_only_text(reader: EncoderReader) -> None:
    assert values(read(reader, "[SEP] you [CLS]")) == values(read(reader, "[ sep ] you [ cls ]"))
    assert values(read(reader, "[SEP] you")) != values(read(reader, "you"))


def test_same_words_same_bits_whatever_was_read_between(reader: EncoderReader) -> None:
    first = values(read(reader, "i love you"))
    read(reader, "hate " * 900)
    read(reader, "\x01")

    assert values(read(reader, "i love you")) == first


def test_readers_side_by_side_give_the_same_bits(head: EncoderHead) -> None:
    texts = [f"word {number} i love you so much" for number in range(150)]
    alone = head.open_reader()
    expected = [values(read(alone, text)) for text in texts]
    readers = [head.open_reader() for _ in range(2)]
    results: dict[int, list[Reading]] = {}

    def work(number: int) -> None:
        results[number] = [values(read(readers[number], text)) for text in texts]

    threads = [threading.Thread(target=work, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert results == {0: expected, 1: expected}
    for reader in (alone, *readers):
        reader.close()


def test_a_long_text_keeps_its_last_words_and_says_so(reader: EncoderReader) -> None:
    fits = read(reader, "word " * 510)
    too_long = read(reader, "hate " * 300 + "word " * 510)

    assert not fits.truncated
    assert too_long.truncated
    assert values(too_long) == dataclasses.replace(values(fits), truncated=True)


def test_context_is_ignored_by_a_head_that_was_trained_without(reader: EncoderReader) -> None:
    assert values(read(reader, "i love you", "never again")) == values(read(reader, "i love you"))
    assert read(reader, "i love you", "never again").context_turns == 0


def test_context_is_read_only_within_the_lengths_that_the_file_names(tmp_path: Path) -> None:
    fields = {"affect.context_turns": 1, "affect.context_text_tokens": 3, "affect.context_turn_tokens": 2}
    head = EncoderHead(write_head(tmp_path / "rule.gguf", HeadSpec(fields=fields)), sha256="", threads=1)
    reader = head.open_reader()
    short, longer = read(reader, "i love you"), read(reader, "i love you never")

    after_a_short_turn = read(reader, "i love you", "never again")
    assert after_a_short_turn.context_turns == 1
    assert values(after_a_short_turn).axes != values(short).axes
    assert values(read(reader, "i love you", "never again you")) == values(short)
    assert values(read(reader, "i love you never", "never again")) == values(longer)
    assert (head.card.context.text_tokens, head.card.context.turn_tokens) == (3, 2)
    reader.close()
    head.close()


def test_context_is_laid_out_before_the_words_and_gives_way_to_them(tmp_path: Path) -> None:
    spec = HeadSpec(fields={"affect.context_turns": 1})
    path = write_head(tmp_path / "context.gguf", spec)
    head = EncoderHead(path, sha256="", threads=1)
    reader = head.open_reader()
    outputs = forward(spec, token_ids(spec, "never", "again", "[SEP]", "i", "love", "you"))
    axes, *_ = Decoder(read_head_file(path)).decode(outputs)

    with_context = read(reader, "i love you", "this is older than the head looks", "never again")

    assert dataclasses.astuple(with_context.axes) == pytest.approx(dataclasses.astuple(axes), abs=5e-3)
    assert with_context.context_turns == 1
    full = read(reader, "word " * 510)
    assert values(read(reader, "word " * 510, "never again")) == values(full)
    assert not full.truncated
    reader.close()
    head.close()


def test_a_reading_that_was_aborted_leaves_the_reader_usable(reader: EncoderReader) -> None:
    before = values(read(reader, "i love you"))
    stop = AbortFlag()
    stop.set()

    with pytest.raises(ReadingAbortedError):
        reader.read(Utterance("word " * 500), stop)

    assert values(read(reader, "i love you")) == before


@pytest.mark.parametrize("text", ["", " ", "\x01\x02", "\u200b\u200d", "привет", "日本語"])
def test_what_leaves_no_token_is_blank(reader: EncoderReader, text: str) -> None:
    reading = read(reader, text)

    assert reading.blank
    assert values(reading) == values(read(reader, ""))


@pytest.fixture(scope="module")
def real_words_reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EncoderReader]:
    """A reader of a tiny head with the whole vocabulary, so that the real tokenizer's tables are walked."""
    path = tmp_path_factory.mktemp("vocabulary") / "head.gguf"
    write_head(path, HeadSpec(layers=1, width=32, feed_forward=32, attention_heads=2, vocabulary=real_vocabulary()))
    head = EncoderHead(path, sha256="", threads=1)
    reader = head.open_reader()
    yield reader
    reader.close()
    head.close()


@given(text=st.text(max_size=2_000), context=st.lists(st.text(max_size=400), max_size=2))
@hypothesis_settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_text_gives_finite_numbers_in_their_ranges(
    real_words_reader: EncoderReader, text: str, context: list[str]
) -> None:
    reading = real_words_reader.read(Utterance(text, tuple(context)), AbortFlag())

    assert np.isfinite([*dataclasses.astuple(reading.axes), *dataclasses.astuple(reading.uncertainty)]).all()
    assert all(-1 <= value <= 1 for value in dataclasses.astuple(reading.axes))
    assert all(value > 0 for value in dataclasses.astuple(reading.uncertainty))
    assert 0 <= reading.confidence <= 1


@given(text=st.text(st.characters(max_codepoint=0x7F), max_size=9_000))
@hypothesis_settings(max_examples=50, deadline=None)
def test_any_ascii_text_of_any_length_is_read(real_words_reader: EncoderReader, text: str) -> None:
    assert 0 <= real_words_reader.read(Utterance(text), AbortFlag()).confidence <= 1


def test_memory_stays_flat(reader: EncoderReader) -> None:
    process = psutil.Process()
    long_text = "word " * 700

    def many(times: int) -> int:
        for number in range(times):
            read(reader, "i love you so much" if number % 50 else long_text)
        return int(process.memory_info().rss)

    settled = many(500)
    grown = many(2_000) - settled

    # A leak of 2 KiB a reading would show; a reading's outputs alone are less, its batch and its tokens more.
    assert grown < 4 * MIB
