"""A session's curve, computed anew from its log: as it was, and as it would have been under another temperament or with other readings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Final, NamedTuple

from limbic.runtime.clock import NS_PER_S
from limbic.runtime.errors import InvalidArgumentError
from services.state_engine.appraisal import UnknownEventError
from services.state_engine.causes import Cause
from services.state_engine.errors import TurnNotFoundError
from services.state_engine.journal.facts import LaterFact, SessionLog, StimulusFact
from services.state_engine.library import TemperamentLibrary
from services.state_engine.session import Session, State
from services.state_engine.temperament import Temperament

MAX_POINTS: Final = 100_000
"""Points between facts that one replay gives: a week at one every six seconds."""

TAIL_NS: Final = 24 * 3_600 * NS_PER_S
"""How long after the last fact a curve goes on, at most: by then a feeling has faded under every temperament that is shipped."""


class Moment(NamedTuple):
    """A point in time of a curve, and the turn of the fact that stands there; "" where there is none, or at the root."""

    at_ns: int
    turn_id: str


@dataclass(frozen=True, slots=True)
class Point:
    """One point of both curves."""

    recorded: State
    replayed: State
    turn_id: str


class Replay:
    """Both curves of one path.

    Args:
        log: the session's log.
        turn_id: the end of the path; None for the tip.
        temperaments: where the session's own is found.
        temperament: another one; None for the session's own.
        causes: what is taken instead of what was recorded, by stimulus on the path.
        interval_ns: between points; None for points at facts only.
        now_ns: the present, beyond which there is no curve.
        moments_ns: if not empty, points at these moments and no others; they ascend.

    Raises:
        TurnNotFoundError: the session has no such turn.
        InvalidArgumentError: a cause for a stimulus that is not on the path, an event that the temperament does not name, too many points.
        TemperamentError: the session's own temperament cannot be used any more.
    """

    def __init__(
        self,
        log: SessionLog,
        turn_id: str | None,
        temperaments: TemperamentLibrary,
        temperament: Temperament | None,
        causes: Mapping[str, Cause],
        interval_ns: int | None,
        now_ns: int,
        moments_ns: Sequence[int] = (),
    ) -> None:
        self._recorded = Session.of(log, temperaments)
        self._turn_id = self._recorded.tip.turn_id if turn_id is None else turn_id
        if self._turn_id not in self._recorded.timeline:
            raise TurnNotFoundError("turn_id", self._turn_id)
        facts = _with_causes(log.facts, causes, {"", *self._recorded.timeline.path(self._turn_id)})
        self._replayed = Session(log.session, temperament or self._recorded.temperament)
        try:
            self._replayed.apply(facts, log.revision)
        except UnknownEventError as error:
            raise InvalidArgumentError(
                "temperament", f"does not name the event {error.name}, which the session holds"
            ) from None
        if moments_ns:
            at = _facts(self._recorded, self._turn_id)
            self._moments = [Moment(moment, at.get(moment, "")) for moment in moments_ns]
        else:
            self._moments = _moments(self._recorded, self._turn_id, interval_ns, now_ns)

    def __iter__(self) -> Iterator[Point]:
        """Yield the points in the order of time, for the cost of two folds over the path. Once only."""
        recorded, replayed = (
            session.timeline.states(self._turn_id, (moment.at_ns for moment in self._moments))
            for session in (self._recorded, self._replayed)
        )
        for moment, was, would_be in zip(self._moments, recorded, replayed, strict=True):
            yield Point(
                self._recorded.read(was, self._turn_id, moment.at_ns),
                self._replayed.read(would_be, self._turn_id, moment.at_ns),
                moment.turn_id,
            )


def _with_causes(facts: Sequence[LaterFact], causes: Mapping[str, Cause], path: set[str]) -> list[LaterFact]:
    left = dict(causes)
    replaced: list[LaterFact] = []
    for fact in facts:
        if not isinstance(fact, StimulusFact):
            replaced.append(fact)
        elif fact.turn_id in path:
            cause = left.pop(fact.stimulus_id, None)
            replaced.append(fact if cause is None else replace(fact, cause=cause))
    if left:
        raise InvalidArgumentError("readings", f"no stimulus on the path has the id {next(iter(left))}")
    return replaced


def _facts(session: Session, turn_id: str) -> dict[int, str]:
    """Return the moments at which something was said or felt on a path, each with the turn."""
    timeline = session.timeline
    at = {said_ns: turn for turn in timeline.path(turn_id) if (said_ns := session.said_ns(turn)) is not None}
    felt = timeline.felt(turn_id, 2**63 - 1)
    at.update(zip(felt.moments_ns, felt.turn_ids, strict=True))
    return at


def _moments(session: Session, turn_id: str, interval_ns: int | None, now_ns: int) -> list[Moment]:
    at = _facts(session, turn_id)
    facts = [Moment(moment, at[moment]) for moment in sorted(at)]
    if interval_ns is None or not facts:
        return facts
    end = max(facts[-1].at_ns, min(now_ns, facts[-1].at_ns + TAIL_NS))
    points = (end - facts[0].at_ns) // interval_ns
    if points > MAX_POINTS:
        raise InvalidArgumentError("interval", f"would give {points:,} points; at most {MAX_POINTS:,} are allowed")
    moments: list[Moment] = []
    for fact, following in pairwise([*facts, Moment(end + 1, "")]):
        moments.append(fact)
        # On one grid from the first fact on, so that a plot's points are equally far apart.
        steps = (fact.at_ns - facts[0].at_ns) // interval_ns + 1
        first = facts[0].at_ns + steps * interval_ns
        moments += [Moment(at_ns, "") for at_ns in range(first, following.at_ns, interval_ns)]
    return moments
