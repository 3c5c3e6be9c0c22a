"""One session in memory: what the facts that are in the journal lead to. It changes only when a commit has succeeded."""

from __future__ import annotations

import asyncio
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from services.state_engine.dynamics import Vector
from services.state_engine.folds import Stimulus
from services.state_engine.journal.facts import (
    Fact,
    PauseFact,
    ResumptionFact,
    RetractionFact,
    RewindFact,
    SessionFact,
    SessionLog,
    StimulusFact,
    TurnFact,
)
from services.state_engine.library import TemperamentLibrary
from services.state_engine.picture import Picture
from services.state_engine.readout import Level, Mood
from services.state_engine.session_time import Pauses
from services.state_engine.stimuli import Stimuli
from services.state_engine.temperament import Temperament
from services.state_engine.timeline import Timeline
from services.state_engine.tip import Tip
from services.state_engine.turn_tree import ROOT, TurnTree

_TURN, _STIMULUS, _RETRACTION, _REWIND = "t:", "s:", "x:", "r:"
_PREFIX = 2

CLOCK_KEY = "clock"
"""The key of pauses and their ends: what changes the clock is recorded one after the other."""


def turn_key(turn_id: str) -> str:
    """Return the key of a turn. Each kind of fact has ids of its own, so the same id may name one of each."""
    return _TURN + turn_id


def stimulus_key(stimulus_id: str) -> str:
    """Return the key of a stimulus."""
    return _STIMULUS + stimulus_id


def retraction_key(stimulus_id: str) -> str:
    """Return the key of a stimulus's retraction."""
    return _RETRACTION + stimulus_id


def rewind_key(rewind_id: str) -> str:
    """Return the key of a rewind."""
    return _REWIND + rewind_id


def key_of(fact: Fact) -> str:
    """Return the key of a fact other than the opening."""
    if isinstance(fact, TurnFact):
        return turn_key(fact.turn_id)
    if isinstance(fact, StimulusFact):
        return stimulus_key(fact.stimulus_id)
    if isinstance(fact, RetractionFact):
        return retraction_key(fact.stimulus_id)
    if isinstance(fact, RewindFact):
        return rewind_key(fact.rewind_id)
    if isinstance(fact, PauseFact | ResumptionFact):
        return CLOCK_KEY
    raise TypeError("a session's opening has no key")


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
        tip: the turn that the next one follows by default, and what rewinds have left behind.
        pauses: when its own clock stood still.
        revision: how many facts it takes in.
        key: the journal's own key of it; None if it has not been read from there.
        kept: the revision of the latest snapshot of it; 0 if there is none.
        in_flight: keys of facts that are on their way to the journal, with what to wait for.
        stale: whether the journal is known to hold something else; then it is to be rebuilt.
    """

    __slots__ = (
        "_retracted", "_said_ns", "_unfelt", "fact", "in_flight", "kept", "key", "pauses", "revision", "stale", "temperament",
        "timeline", "tip",
    )  # fmt: skip

    def __init__(self, fact: SessionFact, temperament: Temperament) -> None:
        self.fact = fact
        self.temperament = temperament
        self.timeline = Timeline(temperament.dynamics)
        self.tip = Tip(self.timeline)
        self.pauses = Pauses()
        self.revision = 1
        self.key: int | None = None
        self.kept = 0
        self.in_flight: dict[str, asyncio.Future[None]] = {}
        self.stale = False
        # By the number of the turn; the root was never said.
        self._said_ns = array("q", [0])
        self._retracted: set[str] = set()
        # Stimuli that were taken back before they came, with their turns.
        self._unfelt: dict[str, str] = {}

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
        session.key = log.key
        session.apply(log.facts, log.revision)
        session.fold()
        return session

    @classmethod
    def pictured(cls, fact: SessionFact, temperament: Temperament, key: int | None, picture: Picture) -> Session:
        """Return the session that a picture shows, with the journal's key of it if there is one. The picture's columns become its own."""
        session = cls(replace(fact, temperament_text=temperament.text), temperament)
        session.key, session.revision, session.kept = key, picture.revision, picture.revision
        session.pauses = Pauses(picture.begins, picture.ends)
        tree = TurnTree.of([*picture.turn_ids], picture.parents, picture.depths, picture.anchors)
        stimuli = Stimuli.of(
            temperament.dynamics,
            [*picture.stimulus_ids],
            picture.stimulus_turns,
            picture.moments_ns,
            picture.latents,
            picture.gone,
        )
        session.timeline = Timeline(temperament.dynamics, session.pauses.time(), tree, stimuli)
        for turn, known in picture.folds.items():
            session.timeline.known.keep(turn, known)
        session.tip = Tip(session.timeline, picture.tip, picture.abandoned, picture.rewinds)
        session._said_ns = picture.said_ns
        session._retracted = {*picture.retracted}
        session._unfelt = {**picture.unfelt}
        return session

    def picture(self) -> Picture:
        """Return the session as it is now, to be looked at elsewhere while it goes on."""
        tree, stimuli = self.timeline.tree, self.timeline.stimuli
        begins, ends = self.pauses.all
        return Picture(
            revision=self.revision,
            turns=len(tree),
            turn_ids=tree.ids,
            parents=tree.parents,
            depths=tree.depths,
            anchors=tree.anchors,
            said_ns=self._said_ns,
            tip=self.tip.turn_id,
            abandoned=self.tip.all_abandoned,
            rewinds=self.tip.rewinds,
            stimuli=len(stimuli),
            stimulus_ids=stimuli.ids,
            stimulus_turns=stimuli.turns,
            moments_ns=stimuli.moments,
            latents=stimuli.latents(slice(len(stimuli))),
            gone=[*stimuli.gone],
            retracted=[*self._retracted],
            unfelt={**self._unfelt},
            begins=begins,
            ends=ends,
            folds=self.timeline.known.all(),
        )

    def fold(self) -> None:
        """Compute now what the next question about the tip needs: away from the event loop, after many facts were taken in."""
        self.timeline.last_ns(self.tip.turn_id)

    def holds(self, key: str) -> bool:
        """Whether the turn, stimulus or retraction of a key has been recorded."""
        name = key[_PREFIX:]
        if key.startswith(_TURN):
            return name in self.timeline
        if key.startswith(_STIMULUS):
            return name in self.timeline.stimuli.numbers or name in self._unfelt
        return name in self._retracted

    def said_ns(self, turn_id: str) -> int | None:
        """Return when a turn was said; None for the root."""
        number = self.timeline.tree.numbers.get(turn_id, ROOT)
        return None if number == ROOT else self._said_ns[number]

    def place_of(self, fact: Fact) -> str:
        """Return the turn to which a fact belongs; "" for the root, and for what belongs to none."""
        if isinstance(fact, TurnFact | StimulusFact | RewindFact):
            return fact.turn_id
        return self._turn_of(fact.stimulus_id) or "" if isinstance(fact, RetractionFact) else ""

    def apply(self, facts: Sequence[Fact], revision: int) -> None:
        """Take in facts that are in the journal; `revision` is the number of the last."""
        for fact in facts:
            self._apply(fact)
        self.revision = max(self.revision, revision)

    def _apply(self, fact: Fact) -> None:
        if isinstance(fact, TurnFact):
            self.timeline.add_turn(fact.turn_id, fact.parent_turn_id)
            self.tip.move(fact.turn_id)
            self._said_ns.append(fact.occurred_ns)
        elif isinstance(fact, StimulusFact):
            if fact.stimulus_id in self._retracted:
                self._unfelt[fact.stimulus_id] = fact.turn_id
            else:
                impulse = self.temperament.impulse(fact.cause)
                self.timeline.add_stimulus(fact.turn_id, Stimulus((fact.occurred_ns, fact.stimulus_id), impulse))
        elif isinstance(fact, RetractionFact):
            self._retracted.add(fact.stimulus_id)
            turn_id = self._turn_of(fact.stimulus_id)
            if turn_id is not None:
                self.timeline.remove_stimulus(turn_id, fact.stimulus_id)
        elif isinstance(fact, RewindFact):
            self.tip.rewind(fact.rewind_id, fact.turn_id)
        elif isinstance(fact, PauseFact):
            self.pauses.begin(fact.pause_id, fact.from_ns)
            self.timeline.set_time(self.pauses.time(), fact.from_ns)
        elif isinstance(fact, ResumptionFact):
            self.pauses.end(fact.pause_id, fact.from_ns)
            self.timeline.set_time(self.pauses.time(), fact.from_ns)

    def _turn_of(self, stimulus_id: str) -> str | None:
        number = self.timeline.stimuli.numbers.get(stimulus_id)
        if number is None:
            return self._unfelt.get(stimulus_id)
        return self.timeline.tree.ids[self.timeline.stimuli.turns[number]]

    def state_now(self, turn_id: str, now_ns: int) -> State:
        """Return the state at a turn now: see `present_ns`."""
        return self.state(turn_id, self.present_ns(turn_id, now_ns))

    def present_ns(self, turn_id: str, now_ns: int) -> int:
        """Return the present at a turn, which is never before the last thing that was felt there.

        What was felt may lie a moment ahead of our clock, because its host's clock is; and a clock may be set back. Neither may make
        the state forget what it has just taken in.
        """
        return max(now_ns, self.timeline.last_ns(turn_id) or now_ns)

    def state(self, turn_id: str, as_of_ns: int) -> State:
        """Return the state at a turn and a moment."""
        return self.read(self.timeline.state(turn_id, as_of_ns), turn_id, as_of_ns)

    def read(self, vector: Vector, turn_id: str, as_of_ns: int) -> State:
        """Return what can be seen of a state z, shape (2n,)."""
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
