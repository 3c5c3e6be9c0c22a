"""How a text is written down before the tokenizer sees it. A head names in its file the rule that it was trained with."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable

_PUNCTUATION = str.maketrans(
    {
        "\u2018": "'", "\u2019": "'", "\u201a": "'", "\u201b": "'", "\u2032": "'", "\u00b4": "'", "\u02bc": "'",
        "\u201c": '"', "\u201d": '"', "\u201e": '"', "\u2033": '"', "\u00ab": '"', "\u00bb": '"',
        "\u2010": "-", "\u2011": "-", "\u2012": "-", "\u2013": "-", "\u2014": "-", "\u2015": "-", "\u2212": "-",
        "\u2022": "-", "\u00b7": "-", "\u2044": "/", "\u00a1": "!", "\u00bf": "?",
        "\u00df": "ss", "\u00e6": "ae", "\u00c6": "AE", "\u00f8": "o", "\u00d8": "O", "\u0153": "oe", "\u0142": "l",
    }
)  # fmt: skip


def to_ascii(text: str) -> str:
    """Write a text in printable ASCII, losing as little of its feeling as possible.

    Typographic marks become their typewriter forms, accents are dropped, and an emoji becomes its Unicode name in lower
    case (a heart says more than an unknown token does), a run of the same one only once. What has no ASCII form, such as
    another script's letters, is dropped. White space becomes single spaces.
    """
    if text.isascii() and text.isprintable():
        return " ".join(text.split())
    pieces: list[str] = []
    previous_symbol = ""
    for character in unicodedata.normalize("NFKC", text.translate(_PUNCTUATION)):
        if character < "\x80":
            pieces.append(character if character.isprintable() else " ")
            previous_symbol = previous_symbol if character == " " else ""
        elif unicodedata.category(character) == "So":
            if character != previous_symbol:
                pieces.append(f" {unicodedata.name(character, '').lower()} ")
            previous_symbol = character
        else:
            decomposed = unicodedata.normalize("NFKD", character.translate(_PUNCTUATION))
            pieces.append("".join(c if c < "\x80" else " " * c.isspace() for c in decomposed))
    return " ".join("".join(pieces).split())


def to_one_line(text: str) -> str:
    """Put a text on one line, white space becoming single spaces: a prompt's lines stay ours."""
    return " ".join(text.split())


NORMALIZERS: dict[str, Callable[[str], str]] = {"ascii-v1": to_ascii, "one-line-v1": to_one_line}
"""By the name that stands in a head's `affect.normalizer`."""
