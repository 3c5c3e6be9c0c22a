"""Explains a state of a session: what it is made of, with the words that were said."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from services.state_engine.dynamics import Vector
from services.state_engine.explanation import Breakdown, Shares, axis_shares, break_down
from services.state_engine.folding import Folding
from services.state_engine.journal.port import Journal
from services.state_engine.session import Session, State
from services.state_engine.temperament import Temperament


@dataclass(frozen=True, slots=True)
class Explanation:
    """A state, what it is made of, and for each stimulus told apart its axes' shares and the words said; "" where they are not kept."""

    state: State
    temperament: Temperament
    breakdown: Breakdown
    axes: Mapping[str, Mapping[str, Shares]]
    words: Mapping[str, str]


async def explain(
    journal: Journal, folding: Folding, session: Session, turn_id: str, as_of_ns: int | None, limit: int
) -> Explanation:
    """Return what the state at a turn and a moment (None: now) is made of, at most `limit` stimuli apart."""
    timeline, temperament = session.timeline, session.temperament
    while True:
        await folding.ready(session, turn_id, as_of_ns)
        moment_ns = folding.moment(session, turn_id, as_of_ns)
        state, seen = timeline.state(turn_id, moment_ns), session.state(turn_id, moment_ns)
        look = timeline.look()
        try:
            breakdown, ages = await folding.away(partial(_break_down, session, state, turn_id, moment_ns, limit))
        finally:
            same = timeline.is_same(look, turn_id)
        # What was learned of the path meanwhile is in one of them only, and they have to add up.
        if same:
            break
    session_id, largest = session.fact.session_id, breakdown.largest
    stimuli = await journal.stimuli(session_id, [one.stimulus_id for one in largest])
    turns = await journal.turns(session_id, dict.fromkeys(one.turn_id for one in largest if one.turn_id))
    age_of = {one.stimulus_id: age for one, age in zip(largest, ages, strict=True)}
    return Explanation(
        state=seen,
        temperament=temperament,
        breakdown=breakdown,
        axes={
            fact.stimulus_id: axis_shares(temperament, state, fact.cause, age_of[fact.stimulus_id]) for fact in stimuli
        },
        words={turn.turn_id: turn.text for turn in turns},
    )


def _break_down(
    session: Session, state: Vector, turn_id: str, moment_ns: int, limit: int
) -> tuple[Breakdown, Sequence[float]]:
    """Return the breakdown, and how long ago each of its largest was, in seconds of the session's own time."""
    timeline = session.timeline
    felt = timeline.felt(turn_id, moment_ns)
    ages = [timeline.elapsed_s(at_ns, moment_ns) for at_ns in felt.moments_ns]
    breakdown = break_down(session.temperament, state, felt, ages, limit)
    return breakdown, [timeline.elapsed_s(one.occurred_ns, moment_ns) for one in breakdown.largest]
