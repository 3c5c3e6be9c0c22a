"""The scripts of `affect-validation`: conversations and triads, read from their TOML files and checked."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from itertools import pairwise
from typing import Any

from limbic.probes.clauses import Clause, parse_clauses
from limbic.probes.errors import SuiteError
from limbic.probes.levels import AXES, HORMONES

GAP_S = 30.0
"""Between two turns, where a script says nothing."""

_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0}
_TURN_KEYS = {"says", "reads", "voices", "after", "announced", "before", "levels"}
_CONVERSATION_KEYS = {"name", "topic", "turns"}
_TRIAD_KEYS = {"name", "topic", "variants", "reads", "voices", "earlier", "earlier_reads", "head", "levels"}


@dataclass(frozen=True, slots=True)
class Reader:
    """How a person would read an utterance: each axis, None where people would differ, and the emotions they would hear."""

    axes: Mapping[str, float | None]
    voices: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class ScriptTurn:
    """One thing that is said, and what is expected of it.

    Attributes:
        says: the words.
        reader: how a person would read them.
        gap_s: event time since the turn before, in seconds.
        announced: whether the session's clock is stopped during that time.
        before: what should hold just before the words.
        after: what should hold right after them.
    """

    says: str
    reader: Reader
    gap_s: float = GAP_S
    announced: bool = False
    before: tuple[Clause, ...] = ()
    after: tuple[Clause, ...] = ()


@dataclass(frozen=True, slots=True)
class Conversation:
    """A scripted conversation. Its name is unique in its suite."""

    name: str
    topic: str
    turns: tuple[ScriptTurn, ...]


@dataclass(frozen=True, slots=True)
class Order:
    """One pair of a triad: of `what` (an axis or a hormone) the variant `more` is to have more than `less`."""

    what: str
    more: str
    less: str

    def __str__(self) -> str:
        return f"{self.what}: {self.more} > {self.less}"


@dataclass(frozen=True, slots=True)
class Triad:
    """Three conversations that differ minimally, by variant, and how head and levels should order them at their last turn."""

    name: str
    topic: str
    variants: Mapping[str, Conversation]
    head: tuple[Order, ...]
    levels: tuple[Order, ...]


def load_conversations() -> tuple[Conversation, ...]:
    """Return the conversations of `affect-validation`."""
    return parse_conversations(suite_text("affect-validation.toml"))


def load_triads() -> tuple[Triad, ...]:
    """Return the triads of `affect-validation`."""
    return parse_triads(suite_text("triads.toml"))


def suite_text(name: str) -> str:
    """Return a suite's file as it is shipped."""
    return resources.files("limbic.probes").joinpath("suites", name).read_text("utf-8")


def parse_conversations(text: str) -> tuple[Conversation, ...]:
    """Read conversations.

    Raises:
        SuiteError: the text is no TOML, or a conversation cannot be used.
    """
    found = tuple(_conversation(entry) for entry in _entries(text, "conversation"))
    _check_names([one.name for one in found])
    return found


def parse_triads(text: str) -> tuple[Triad, ...]:
    """Read triads.

    Raises:
        SuiteError: the text is no TOML, or a triad cannot be used.
    """
    found = tuple(_triad(entry) for entry in _entries(text, "triad"))
    _check_names([one.name for one in found])
    return found


def parse_reads(text: str, voices: str = "") -> Reader:
    """Read `+.5 ? -.3`, the axes in their order, and `love .9, joy .8`.

    Raises:
        SuiteError: that is not what it is.
    """
    words = text.split()
    if len(words) != len(AXES):
        raise SuiteError(f"{text!r} does not give {len(AXES)} axes")
    values = [None if word == "?" else _number(word, -1.0) for word in words]
    heard = {}
    for part in filter(None, (one.strip() for one in voices.split(","))):
        label, _, probability = part.rpartition(" ")
        heard[label] = _number(probability, 0.0)
    return Reader(dict(zip(AXES, values, strict=True)), heard)


def _entries(text: str, key: str) -> list[dict[str, Any]]:
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SuiteError(f"the suite is no TOML: {error}") from None
    entries: list[dict[str, Any]] = content.pop(key, [])
    if content or not entries:
        raise SuiteError(f"the suite holds [[{key}]] and nothing else; found {', '.join(content) or 'nothing'}")
    return entries


def _check_names(names: list[str]) -> None:
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise SuiteError(f"used twice: {', '.join(sorted(twice))}")


def _conversation(entry: dict[str, Any]) -> Conversation:
    name = _named(entry, _CONVERSATION_KEYS, "conversation")
    try:
        turns = tuple(_turn(one, index) for index, one in enumerate(entry["turns"]))
    except KeyError as error:
        raise SuiteError(f"conversation {name}: {error.args[0]} is missing") from None
    except SuiteError as error:
        raise SuiteError(f"conversation {name}: {error}") from None
    return Conversation(name, entry["topic"], turns)


def _turn(entry: dict[str, Any], index: int) -> ScriptTurn:
    if unknown := set(entry) - _TURN_KEYS:
        raise SuiteError(f"turn {index + 1}: unknown keys {', '.join(sorted(unknown))}")
    return ScriptTurn(
        says=entry["says"],
        reader=parse_reads(entry["reads"], entry.get("voices", "")),
        gap_s=_seconds(entry["after"]) if "after" in entry else GAP_S,
        announced=bool(entry.get("announced", False)),
        before=parse_clauses(entry.get("before", ""), index),
        after=parse_clauses(entry["levels"], index),
    )


def _triad(entry: dict[str, Any]) -> Triad:
    name = _named(entry, _TRIAD_KEYS, "triad")
    try:
        variants: dict[str, str] = entry["variants"]
        earlier = tuple(
            ScriptTurn(says, parse_reads(reads))
            for says, reads in zip(entry.get("earlier", ()), entry.get("earlier_reads", ()), strict=True)
        )
        conversations = {}
        for variant, says in variants.items():
            reader = parse_reads(entry["reads"][variant], entry.get("voices", {}).get(variant, ""))
            turns = (*earlier, ScriptTurn(says, reader))
            conversations[variant] = Conversation(f"{name}.{variant}", entry["topic"], turns)
        if len(conversations) != 3:
            raise SuiteError("a triad has three variants")
        return Triad(
            name,
            entry["topic"],
            conversations,
            _orders(entry["head"], AXES, set(variants)),
            _orders(entry["levels"], HORMONES, set(variants)),
        )
    except KeyError as error:
        raise SuiteError(f"triad {name}: {error.args[0]} is missing") from None
    except (SuiteError, ValueError) as error:
        raise SuiteError(f"triad {name}: {error}") from None


def _orders(texts: list[str], known: tuple[str, ...], variants: set[str]) -> tuple[Order, ...]:
    found = []
    for text in texts:
        what, _, chain = text.partition(":")
        names = [name.strip() for name in chain.split(">")]
        if what not in known or len(names) < 2 or not set(names) <= variants:
            raise SuiteError(f"{text!r} is no order of its variants")
        found += [Order(what, more, less) for more, less in pairwise(names)]
    return tuple(found)


def _named(entry: dict[str, Any], keys: set[str], kind: str) -> str:
    name = entry.get("name", "")
    if not re.fullmatch(r"[a-z0-9-]{1,40}", name):
        raise SuiteError(f"a {kind} needs a name of a-z, 0-9 and -; found {name!r}")
    if unknown := set(entry) - keys:
        raise SuiteError(f"{kind} {name}: unknown keys {', '.join(sorted(unknown))}")
    return str(name)


def _seconds(text: str) -> float:
    if match := re.fullmatch(r"(\d+)([smh])", text):
        return int(match.group(1)) * _UNITS[match.group(2)]
    raise SuiteError(f"{text!r} is no duration such as 30s, 20m or 24h")


def _number(text: str, low: float) -> float:
    if not re.fullmatch(r"[+-]?(\d+|\d*\.\d+)", text) or not low <= float(text) <= 1.0:
        raise SuiteError(f"{text!r} is no number from {low:g} to 1")
    return float(text)
