"""One session in memory: what the facts that are in the journal lead to. It changes only when a commit has succeeded."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from services.state_engine.dynamics import Vector
from services.state_engine.journal.facts import Fact, SessionFact, SessionLog, StimulusFact, TurnFact
from services.state_engine.library import TemperamentLibrary
from services.state_engine.readout import Level, Mood
from services.state_engine.temperament import Temperament
from services.state_engine.timeline import Stimulus, Timeline

_TURN, _STIMULUS = "t:", "s:"
_PREFIX = 2


def turn_key(turn_id: str) -> str:
    """Return the key of a turn. Turns and stimuli have ids of their own kind, so the same id may name one of each."""
    return _TURN + turn_id


def stimulus_key(stimulus_id: str) -> str:
    """Return the key of a stimulus."""
    return _STIMULUS + stimulus_id


def key_of(fact: Fact) -> str:
    """Return the key of a turn or stimulus."""
    if isinstance(fact, TurnFact):
        return turn_key(fact.turn_id)
    if isinstance(fact, StimulusFact):
        return stimulus_key(fact.stimulus_id)
    raise TypeError("only turns and stimuli have keys")


@dataclass(frozen=True, slots=True)
class State:
    """What a session feels at a turn and a moment. `revision` is how many facts it takes in."""

    session_id: str
    turn_id: str
    as_of_ns: int
    levels: tuple[Level, ...]
    moods: tuple[Mood, ...]
    revision: int


class Session:
    """The fold of a session's log.

    Attributes:
        fact: how it was opened.
        temperament: what it feels with.
        timeline: its turns and their states.
        tip: the turn that the next one follows by default; "" for the root.
        revision: how many facts it takes in.
        in_flight: keys of turns and stimuli that are on their way to the journal, with what to wait for.
        stale: whether the journal is known to hold something else; then it is to be rebuilt.
    """

    __slots__ = ("_said_ns", "_stimuli", "fact", "in_flight", "revision", "stale", "temperament", "timeline", "tip")

    def __init__(self, fact: SessionFact, temperament: Temperament) -> None:
        self.fact = fact
        self.temperament = temperament
        self.timeline = Timeline(temperament.dynamics)
        self.tip = ""
        self.revision = 1
        self.in_flight: dict[str, asyncio.Future[None]] = {}
        self.stale = False
        self._said_ns: dict[str, int] = {}
        self._stimuli: set[str] = set()

    @classmethod
    def of(cls, log: SessionLog, temperaments: TemperamentLibrary) -> Session:
        """Rebuild a session from its log.

        Raises:
            TemperamentError: the temperament that it began with cannot be used any more.
        """
        opening = log.session
        temperament = temperaments.recorded(opening.temperament, opening.temperament_digest, opening.temperament_text)
        # The text that thousands of sessions share is held once.
        session = cls(replace(opening, temperament_text=temperament.text), temperament)
        session.apply(log.facts, log.revision)
        return session

    def holds(self, key: str) -> bool:
        """Whether the turn or stimulus of a key has been recorded."""
        name = key[_PREFIX:]
        return name in self._said_ns if key.startswith(_TURN) else name in self._stimuli

    def said_ns(self, turn_id: str) -> int | None:
        """Return when a turn was said; None for the root."""
        return self._said_ns.get(turn_id)

    def apply(self, facts: Sequence[Fact], revision: int) -> None:
        """Take in facts that are in the journal; `revision` is the number of the last."""
        for fact in facts:
            if isinstance(fact, TurnFact):
                self.timeline.add_turn(fact.turn_id, fact.parent_turn_id)
                self.tip = fact.turn_id
                self._said_ns[fact.turn_id] = fact.occurred_ns
            elif isinstance(fact, StimulusFact):
                impulse = self.temperament.impulse(fact.cause)
                self.timeline.add_stimulus(fact.turn_id, Stimulus((fact.occurred_ns, fact.stimulus_id), impulse))
                self._stimuli.add(fact.stimulus_id)
        self.revision = max(self.revision, revision)

    def state_now(self, turn_id: str, now_ns: int) -> State:
        """Return the state at a turn now, which is never before the last thing that was felt there.

        What was felt may lie a moment ahead of our clock, because its host's clock is; and a clock may be set back. Neither may make
        the state forget what it has just taken in.
        """
        return self.state(turn_id, max(now_ns, self.timeline.last_ns(turn_id) or now_ns))

    def state(self, turn_id: str, as_of_ns: int) -> State:
        """Return the state at a turn and a moment."""
        vector: Vector = self.timeline.state(turn_id, as_of_ns)
        readout = self.temperament.readout
        adapted = readout.adapted(vector)
        return State(
            self.fact.session_id, turn_id, as_of_ns, readout.levels(adapted), readout.moods(adapted), self.revision
        )

    def waiting_for(self, keys: Iterable[str]) -> asyncio.Future[None] | None:
        """Return what to wait for before all of these keys can be judged, or None."""
        if not self.in_flight:
            return None
        return next((self.in_flight[key] for key in keys if key in self.in_flight), None)
