"""The base's own tokenizer, and whether llama.cpp cuts texts into the same tokens."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from tokenizers import Tokenizer


def load_tokenizer(folder: Path) -> Tokenizer:
    """Return the base's own tokenizer from its `tokenizer.json`."""
    return Tokenizer.from_file(str(folder / "tokenizer.json"))


def differing_texts(
    tokenize: Callable[[str], list[int]], tokenizer: Tokenizer, texts: Sequence[str], max_tokens: int
) -> list[str]:
    """Return the texts that `tokenize`, which is llama.cpp's, cuts otherwise than the base's own tokenizer does."""
    tokenizer.no_padding()
    tokenizer.enable_truncation(max_tokens)
    encodings = tokenizer.encode_batch(list(texts))
    return [text for text, encoding in zip(texts, encodings, strict=True) if tokenize(text) != encoding.ids]
