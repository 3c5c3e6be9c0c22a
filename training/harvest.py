"""Candidates for labelling from what was really said: the gateway's raw feed, where the user lets texts be kept.

Each line of the feed is a `limbic.gateway.v1.TelemetryReading` as protobuf's JSON. Half of the candidates are those
that the head was least sure of, half are drawn by a hash of their content, so that the head does not choose alone what
it will be corrected on. A candidate is the whole text and nothing the head said, which would lead the labeller's hand.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from google.protobuf.json_format import Parse, ParseError

from limbic.gateway.v1 import gateway_pb2
from training.errors import DataError
from training.text import content_key, to_ascii


@dataclass(frozen=True, slots=True)
class Candidate:
    """A text to be labelled."""

    key: str
    """Content key."""
    text: str
    """As it was said, whole."""
    confidence: float
    """The head's own, 0 to 1."""
    chosen: str = ""
    """`unsure` or `drawn`."""


def read_feed(paths: Sequence[Path]) -> list[Candidate]:
    """Return every text in the feed's files once.

    Raises:
        DataError: if a file is missing, a line is no reading, or the feed holds no text.
    """
    found: dict[str, Candidate] = {}
    for path in paths:
        if not path.is_file():
            raise DataError(f"{path} is missing; the gateway writes the raw feed when it is switched on.")
        with path.open(encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                try:
                    seen = Parse(line, gateway_pb2.TelemetryReading(), ignore_unknown_fields=True)
                except ParseError:
                    # Its message quotes the line, and the line is private.
                    raise DataError(f"{path}, line {number} is no reading of the raw feed.") from None
                key = content_key(seen.text)
                if key and seen.HasField("reading"):
                    found.setdefault(key, Candidate(key, seen.text, seen.reading.confidence))
    if not found:
        raise DataError(
            "The feed holds no texts. They are kept only where the user has said so: set gateway.log_text (LIMBIC_GATEWAY__LOG_TEXT)."
        )
    return list(found.values())


def choose(candidates: Iterable[Candidate], known: set[str], count: int) -> list[Candidate]:
    """Return up to `count` candidates whose content is not known yet: half by doubt, half by a hash."""
    fresh = [candidate for candidate in candidates if candidate.key not in known]
    unsure = sorted(fresh, key=lambda c: (c.confidence, c.key))[: count - count // 2]
    taken = {candidate.key for candidate in unsure}
    drawn = sorted((c for c in fresh if c.key not in taken), key=lambda c: c.key)[: count - len(unsure)]
    chosen = [Candidate(c.key, c.text, c.confidence, "unsure") for c in unsure]
    return chosen + [Candidate(c.key, c.text, c.confidence, "drawn") for c in drawn]


def write_candidates(path: Path, candidates: Iterable[Candidate]) -> None:
    """Write one line a candidate, with its axes, archetype and relation left open; readable by the owner alone."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(mode=0o600)
    empty = {"archetype": None, "valence": None, "intimacy": None, "tension": None, "relation": None}
    lines = [json.dumps({"text": to_ascii(c.text), "chosen": c.chosen} | empty) + "\n" for c in candidates]
    path.write_text("".join(lines), encoding="ascii")
