"""The conversations of `mid-span`: hours of event time, drawn by a seed. Pure.

A round holds seven conversations: a warm and a hurtful sentence with twelve hours of everyday talk behind them, 500 neutral turns, 500
hostile turns and a tenth as many, each followed by a day of silence, and one evening at full and at half pace.
"""

from __future__ import annotations

import random
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import accumulate

from limbic.probes.errors import SuiteError
from limbic.probes.script import Reader, parse_reads

READERS = {
    "neutral": parse_reads("0 0 0"),
    "warm": parse_reads("+.8 +.8 -.1", "love .8"),
    "hurtful": parse_reads("-.8 0 +.6", "anger .8"),
    "hostile": parse_reads("-.7 0 +.6", "anger .7"),
}
"""How a person reads what stands in each pool."""

LONG_TURNS = 500
SHORT_TURNS = 50
"""Of the flood that is compared with the long one: recovery must not depend on how long it was."""
FLOOD_GAP_S = 30.0
TALK_GAP_S = 600.0
"""Between two turns of everyday talk after the one sentence that was felt."""
TALK_TURNS = 72
"""Twelve hours of it."""
JITTER = 0.5
"""A gap is drawn from half of it to half as much again."""
PACE_S = 60.0
QUIET_TAIL_S = 24 * 3600.0
TAIL_POINTS = 144
"""Every ten minutes of the silence after a flood."""


@dataclass(frozen=True, slots=True)
class Span:
    """One long conversation.

    Attributes:
        name: which.
        says: the words.
        at_s: the second of event time at which each is said.
        readers: how a person would read each of them.
        tail_s: the seconds after its end that are looked at.
    """

    name: str
    says: tuple[str, ...]
    at_s: tuple[float, ...]
    readers: tuple[Reader, ...]
    tail_s: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Pools:
    """What is said: sentences by pool, and one evening with how a person reads each line of it."""

    sentences: Mapping[str, tuple[str, ...]]
    evening: tuple[tuple[str, Reader], ...]


def parse_pools(text: str) -> Pools:
    """Read what is said.

    Raises:
        SuiteError: the text is no TOML, or a pool is missing or empty.
    """
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SuiteError(f"the suite is no TOML: {error}") from None
    if set(content) != {*READERS, "evening"} or not all(content.values()):
        raise SuiteError(f"the suite needs {', '.join(READERS)} and evening, none of them empty")
    try:
        evening = tuple(
            (line["says"], parse_reads(line["reads"], line.get("voices", ""))) for line in content["evening"]
        )
    except (KeyError, TypeError):
        raise SuiteError("every line of the evening says something and reads somehow") from None
    return Pools({name: tuple(content[name]) for name in READERS}, evening)


def spans(pools: Pools, seed: int, turns: int = LONG_TURNS) -> tuple[Span, ...]:
    """Return the conversations of one round. Equal seeds give equal ones.

    Args:
        pools: what is said.
        seed: of the round.
        turns: of the long conversations; fewer make a shorter round, which is no mid-span any more.
    """
    draw = random.Random(seed)

    def drawn(pool: str, count: int) -> tuple[str, ...]:
        found: list[str] = []
        while len(found) < count:
            found += draw.sample(pools.sentences[pool], len(pools.sentences[pool]))
        return tuple(found[:count])

    def times(count: int, gap_s: float) -> tuple[float, ...]:
        return (0.0, *accumulate(gap_s * draw.uniform(1 - JITTER, 1 + JITTER) for _ in range(count - 1)))

    tail = tuple(QUIET_TAIL_S * step / TAIL_POINTS for step in range(1, TAIL_POINTS + 1))
    found = []
    for name in ("warm", "hurtful"):
        says = (draw.choice(pools.sentences[name]), *drawn("neutral", TALK_TURNS))
        readers = (READERS[name], *[READERS["neutral"]] * TALK_TURNS)
        found.append(Span(name, says, times(len(says), TALK_GAP_S), readers))
    calm = (READERS["neutral"],) * turns
    found.append(Span("neutral", drawn("neutral", turns), times(turns, FLOOD_GAP_S), calm))
    for name, count in (("flood", turns), ("short-flood", max(1, turns * SHORT_TURNS // LONG_TURNS))):
        readers = (READERS["hostile"],) * count
        found.append(Span(name, drawn("hostile", count), times(count, FLOOD_GAP_S), readers, tail))
    evening, readers = zip(*pools.evening, strict=True)
    for name, pace_s in (("full-pace", PACE_S), ("half-pace", 2 * PACE_S)):
        found.append(Span(name, evening, tuple(index * pace_s for index in range(len(evening))), readers))
    return tuple(found)
