"""Random lives of a session: facts in the order of their recording, as a journal would hold them."""

from __future__ import annotations

from random import Random

from limbic.runtime.clock import NS_PER_S
from services.state_engine.causes import Emotions, Event, Reading
from services.state_engine.journal.facts import (
    LaterFact,
    PauseFact,
    ResumptionFact,
    RetractionFact,
    RewindFact,
    Role,
    SessionFact,
    SessionLog,
    StimulusFact,
    TurnFact,
)
from services.state_engine.library import TemperamentLibrary
from tests.state_engine.parts import START_NS

LIBRARY = TemperamentLibrary()


def opening(name: str = "s", temperament: str = "default") -> SessionFact:
    named = LIBRARY.named(temperament)
    return SessionFact(name, named.name, named.digest, named.text, True, START_NS)


def log(facts: list[LaterFact], session: SessionFact | None = None) -> SessionLog:
    return SessionLog(session or opening(), facts, 1 + len(facts), 7)


def life(seed: int, length: int) -> list[LaterFact]:
    """A conversation with everything in it: branches, things felt late and out of order, taken back, pauses, rewinds."""
    random, facts, now = Random(seed), list[LaterFact](), START_NS
    turns, felt, taken_back, pauses = [""], list[str](), set[str](), list[tuple[str, int]]()
    for number in range(length):
        now += random.randrange(1, 3_600) * NS_PER_S
        kind = random.random()
        if kind < 0.45 or not felt:
            # Mostly one after the other, so that there are milestones; at times a branch.
            parent = turns[-1] if random.random() < 0.9 else random.choice(turns)
            facts.append(TurnFact(f"t{number}", parent, Role.USER, now, now, "words", False))
            turns.append(f"t{number}")
            felt.append(f"f{number}")
            facts.append(StimulusFact(f"f{number}", f"t{number}", now, now, _cause(random)))
        elif kind < 0.8:
            at = now - random.choice((0, 0, 0, random.randrange(10**14)))
            facts.append(StimulusFact(f"f{number}", random.choice(turns[-40:]), at, now, _cause(random)))
            felt.append(f"f{number}")
        elif kind < 0.9:
            gone = random.choice(felt)
            if gone not in taken_back:
                taken_back.add(gone)
                facts.append(RetractionFact(gone, now))
        elif kind < 0.95:
            facts.append(RewindFact(f"r{number}", random.choice(turns[-10:]), now))
        elif pauses and random.random() < 0.7:
            pause_id, began = pauses.pop()
            facts.append(ResumptionFact(pause_id, random.randrange(began, now + 1), now))
        else:
            pauses.append((f"p{number}", now - random.randrange(10**13)))
            facts.append(PauseFact(*pauses[-1], now))
    return facts


def _cause(random: Random) -> Reading | Event:
    if random.random() < 0.2:
        return Event(random.choice(("reward", "stress", "affection")), random.random())
    emotions = Emotions(("fear", "love"), (random.random(), random.random()), (random.random() < 0.3, False))
    valence, intimacy, tension = (random.uniform(-1.0, 1.0) for _ in range(3))
    return Reading(valence, intimacy, tension, random.random(), emotions=emotions)
