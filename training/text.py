"""How a text is written down before a tokenizer sees it, and when two texts count as the same.

The served head must apply `to_ascii` as well: what it was trained on is what it should read. The GGUF names the rule
in `affect.normalizer`.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata

NORMALIZER = "ascii-v1"
"""The name of `to_ascii`'s rule; any change of its result needs a new name and a newly trained head."""

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
    """Write `text` in printable ASCII, losing as little of its feeling as possible.

    Typographic marks become their typewriter forms, accents are dropped, and an emoji becomes its Unicode name in
    lower case (a heart says more than an unknown token does), a run of the same one only once. What has no ASCII
    form, such as another script's letters, is dropped. White space becomes single spaces.
    """
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


def content_key(text: str) -> str:
    """Return 16 hexadecimal digits that equal those of any text with the same letters and digits.

    Case, space and punctuation do not count. A text without a letter or digit gives the empty string: it has no
    content to tell it from others.
    """
    letters = re.sub(r"[^a-z0-9]", "", to_ascii(text).lower())
    return hashlib.sha256(letters.encode()).hexdigest()[:16] if letters else ""
