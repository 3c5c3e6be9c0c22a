"""The measures of `canary`: is it still the same character, and not an assistant? Pure, but for the encoder and the head that it is handed.

Naming a feeling never earns anything: sentences that narrate are taken out before the head reads a reply, and their share can only fail a
gate. And that a reply is like the words before it says nothing about the state, so the state's effect is measured between two conversations
of the same words, of which one was said a minute ago and the other two days ago.
"""

from __future__ import annotations

import math
import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from limbic.probes.errors import SuiteError
from limbic.probes.register import HALF_WAY, Embeddings, Manner, manner, told_apart

MANNERS = ("assistant", "narrates", "self")
NEAR = 0.9
"""Cosine from which two replies say the same: paraphrases of one sentence lie at about this in the base encoder."""

Embed = Callable[[Sequence[str]], Embeddings]
"""Unit vectors of sentences, one row each."""

_SENTENCE_ENDS = re.compile(r"(?<=[.!?…])\s+|\n+")


@dataclass(frozen=True, slots=True)
class CanarySuite:
    """What is said, and the pairs of each manner."""

    everyday: tuple[str, ...]
    before: Mapping[str, tuple[str, ...]]
    questions: tuple[str, ...]
    pairs: Mapping[str, tuple[tuple[str, str], ...]]


@dataclass(frozen=True, slots=True)
class Reply:
    """A reply and the words that it answers."""

    to: str
    text: str


@dataclass(frozen=True, slots=True)
class Affect:
    """What the head reads in a reply, -1 to 1."""

    valence: float
    intimacy: float
    tension: float


@dataclass(frozen=True, slots=True)
class Asked:
    """One question after the same words, said a minute ago (`fresh`) and two days ago (`faded`); None where the reply only narrates."""

    mood: str
    fresh: Affect | None
    faded: Affect | None


def parse_canary(text: str) -> CanarySuite:
    """Read the suite.

    Raises:
        SuiteError: it is no TOML, or a part is missing.
    """
    try:
        content = tomllib.loads(text)
        return CanarySuite(
            everyday=tuple(content["everyday"]),
            before={name: tuple(content["before"][name]) for name in ("warm", "hurt")},
            questions=tuple(content["questions"]["ask"]),
            pairs={name: tuple((pair["more"], pair["less"]) for pair in content[name]) for name in MANNERS},
        )
    except tomllib.TOMLDecodeError as error:
        raise SuiteError(f"the suite is no TOML: {error}") from None
    except KeyError as error:
        raise SuiteError(f"{error.args[0]} is missing") from None


def sentences(text: str) -> list[str]:
    """Return a text's sentences that hold a letter."""
    return [one for part in _SENTENCE_ENDS.split(text) if any(map(str.isalpha, one := part.strip()))]


class Manners:
    """The three manners, made from the suite's pairs.

    Args:
        suite: the pairs.
        embed: the encoder.
    """

    def __init__(self, suite: CanarySuite, embed: Embed) -> None:
        self._embed = embed
        self._made: dict[str, Manner] = {}
        self.accuracy: dict[str, float] = {}
        for name, pairs in suite.pairs.items():
            more, less = (embed([pair[half] for pair in pairs]) for half in (0, 1))
            self._made[name] = manner(more, less)
            self.accuracy[name] = told_apart(more, less)

    def of(self, said: Sequence[str]) -> dict[str, list[bool]]:
        """Tell of each sentence in which manners it is said."""
        if not said:
            return {name: [] for name in self._made}
        embedded = self._embed(said)
        return {name: [bool(one >= HALF_WAY) for one in made.places(embedded)] for name, made in self._made.items()}

    def without_narration(self, text: str) -> str:
        """Return a text without the sentences that narrate feelings; empty if it holds no others."""
        said = sentences(text)
        return " ".join(one for one, tells in zip(said, self.of(said)["narrates"], strict=True) if not tells)


def speech_figures(replies: Sequence[Reply], manners: Manners, embed: Embed) -> dict[str, float]:
    """Return how a conversation's replies are said.

    Args:
        replies: in their order.
        manners: made from the suite.
        embed: the encoder.
    """
    spoken = [reply for reply in replies if sentences(reply.text)]
    figures = {"answered": len(spoken) / len(replies) if replies else math.nan}
    for name, value in manners.accuracy.items():
        figures[f"measure.{name}"] = value
    if not spoken:
        silent = ("assistant", "self", "narrates", "repeats", "says_again", "echoes")
        return {**figures, **dict.fromkeys(silent, math.nan)}
    by_reply = [manners.of(sentences(reply.text)) for reply in spoken]
    for name in MANNERS:
        figures[name] = float(np.mean([any(one[name]) for one in by_reply]))
    whole = embed([reply.text for reply in spoken])
    asked = embed([reply.to for reply in spoken])
    near = whole @ whole.T
    figures["repeats"] = float(
        np.mean([index > 0 and near[index, :index].max() >= NEAR for index in range(len(spoken))])
    )
    figures["says_again"] = _said_again([sentences(reply.text) for reply in spoken])
    figures["echoes"] = float(np.mean(np.sum(whole * asked, axis=1) >= NEAR))
    return figures


def follow_figures(asked: Sequence[Asked]) -> dict[str, float]:
    """Return how a reply's own affect moves when nothing but the state does, in the direction in which it should.

    `follows.warm.valence` is the mean difference fresh less faded on the head's axis, and so on; where the axis should fall its sign is
    turned, so that more is better everywhere. `follows` is the mean of all differences in units of its standard error: above 2 is unlikely
    by chance.
    """
    wanted = {"warm": (("valence", 1.0), ("intimacy", 1.0)), "hurt": (("valence", -1.0), ("tension", 1.0))}
    figures, all_shifts = {}, []
    for mood, axes in wanted.items():
        for axis, sign in axes:
            shifts = [
                sign * (getattr(one.fresh, axis) - getattr(one.faded, axis))
                for one in asked
                if one.mood == mood and one.fresh is not None and one.faded is not None
            ]
            figures[f"follows.{mood}.{axis}"] = float(np.mean(shifts)) if shifts else math.nan
            all_shifts += shifts
    spread = float(np.std(all_shifts, ddof=1)) if len(all_shifts) > 1 else 0.0
    figures["follows"] = float(np.mean(all_shifts)) / (spread / math.sqrt(len(all_shifts))) if spread else math.nan
    figures["follows.replies"] = float(sum(one.fresh is not None and one.faded is not None for one in asked))
    return figures


def _said_again(replies: Sequence[Sequence[str]]) -> float:
    """Return the share of sentences that an earlier reply, or the same one, holds to the letter."""
    seen: set[str] = set()
    again = total = 0
    for reply in replies:
        for sentence in reply:
            key = re.sub(r"\W+", " ", sentence.lower()).strip()
            again += key in seen
            total += 1
            seen.add(key)
    return again / total if total else math.nan
