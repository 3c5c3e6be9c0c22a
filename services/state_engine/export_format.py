"""A session's facts as lines of JSON: how a session leaves one journal and enters another.

The first line says how the session was opened, with the format's version and the temperament's text. Each fact has a line of its own, in
the order of recording. The last line says how many facts there were, so that a file that lost its end is known. Moments are whole
nanoseconds since the epoch. Floats are written as the shortest decimals that read back as the same bits.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from typing import Any, Final

from pydantic import ValidationError

from services.state_engine.causes import AxisUncertainty, Cause, Emotions, Event, HeadIdentity, Reading
from services.state_engine.export_schema import (
    ANY_LINE,
    FORMAT,
    VERSION,
    EndLine,
    OpeningLine,
    PauseLine,
    RetractionLine,
    RewindLine,
    StimulusLine,
    TurnLine,
)
from services.state_engine.journal.facts import (
    ForkOrigin,
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

_ROLES: Final = {Role.USER: "user", Role.ASSISTANT: "assistant"}
_ROLE_OF: Final = {name: role for role, name in _ROLES.items()}


class LineError(ValueError):
    """A line that cannot be used. The text names the key and what is wrong, and never a value, which is private."""


End = int
"""How many facts came before, the opening included."""


def lines_of(log: SessionLog) -> Iterator[str]:
    """Yield the lines of a session's log."""
    yield _dump(_opening_line(log.session))
    for fact in log.facts:
        yield _dump(_line(fact))
    yield _dump({"fact": "end", "facts": log.revision})


def parse_line(line: str) -> SessionFact | LaterFact | End:
    """Return what a line says.

    Raises:
        LineError: it says nothing that can be used.
    """
    try:
        found = ANY_LINE.validate_json(line)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        if first["type"].startswith("union_tag"):
            raise LineError("fact: is no kind of line that this version knows") from None
        # The first part is the kind of the line, which pydantic puts there.
        key = ".".join(map(str, first["loc"][1:]))
        raise LineError(f"{key}: {first['msg']}" if key else first["msg"]) from None
    return _fact_of(found)


def _dump(line: dict[str, object]) -> str:
    return json.dumps(line, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def _opening_line(session: SessionFact) -> dict[str, object]:
    return {
        "fact": "session",
        "format": FORMAT,
        "version": VERSION,
        "session_id": session.session_id,
        "temperament": session.temperament,
        "temperament_digest": session.temperament_digest,
        "temperament_text": session.temperament_text,
        "keep_text": session.keep_text,
        "created_ns": session.created_ns,
        "forked_from": None if session.forked_from is None else session.forked_from._asdict(),
    }


def _line(fact: LaterFact) -> dict[str, object]:
    if isinstance(fact, TurnFact):
        kind, values = "turn", {name: getattr(fact, name) for name in _TURN_KEYS} | {"role": _ROLES[fact.role]}
    elif isinstance(fact, StimulusFact):
        kind, values = "stimulus", {name: getattr(fact, name) for name in _STIMULUS_KEYS} | _cause_values(fact.cause)
    else:
        kind, names = _PLAIN[type(fact)]
        values = {name: getattr(fact, name) for name in names}
    return {"fact": kind, **values}


_TURN_KEYS: Final = ("turn_id", "parent_turn_id", "role", "occurred_ns", "recorded_ns", "text", "cut")
_STIMULUS_KEYS: Final = ("stimulus_id", "turn_id", "occurred_ns", "recorded_ns")
_PLAIN: Final[dict[type[LaterFact], tuple[str, tuple[str, ...]]]] = {
    RetractionFact: ("retraction", ("stimulus_id", "recorded_ns")),
    PauseFact: ("pause", ("pause_id", "from_ns", "recorded_ns")),
    ResumptionFact: ("resumption", ("pause_id", "from_ns", "recorded_ns")),
    RewindFact: ("rewind", ("rewind_id", "turn_id", "recorded_ns")),
}


def _cause_values(cause: Cause) -> dict[str, object]:
    if isinstance(cause, Event):
        return {"event": {"name": cause.name, "intensity": cause.intensity}}
    head = cause.head
    return {
        "reading": {
            "valence": cause.valence,
            "intimacy": cause.intimacy,
            "tension": cause.tension,
            "confidence": cause.confidence,
            "uncertainty": None if cause.uncertainty is None else cause.uncertainty._asdict(),
            "emotions": [
                {"label": label, "probability": probability, "active": active}
                for label, probability, active in zip(*cause.emotions, strict=True)
            ],
            "head": {"id": head.head_id, "quantization": head.quantization, "calibration": head.calibration},
            "truncated": cause.truncated,
            "reasoning": cause.reasoning,
            "latency_ns": cause.latency_ns,
        }
    }


def _fact_of(found: Any) -> SessionFact | LaterFact | End:
    match found:
        case OpeningLine():
            return _session_of(found)
        case TurnLine():
            return TurnFact(
                found.turn_id,
                found.parent_turn_id,
                _ROLE_OF[found.role],
                found.occurred_ns,
                found.recorded_ns,
                found.text,
                found.cut,
            )
        case StimulusLine():
            return StimulusFact(
                found.stimulus_id, found.turn_id, found.occurred_ns, found.recorded_ns, _cause_of(found)
            )
        case RetractionLine():
            return RetractionFact(found.stimulus_id, found.recorded_ns)
        case PauseLine():
            kind = PauseFact if found.fact == "pause" else ResumptionFact
            return kind(found.pause_id, found.from_ns, found.recorded_ns)
        case RewindLine():
            return RewindFact(found.rewind_id, found.turn_id, found.recorded_ns)
        case EndLine():
            return found.facts
        case _:
            raise TypeError("a line of no kind")


def _session_of(line: OpeningLine) -> SessionFact:
    if hashlib.sha256(line.temperament_text.encode()).hexdigest() != line.temperament_digest:
        raise LineError("temperament_digest: is not that of temperament_text")
    origin = None if line.forked_from is None else ForkOrigin(line.forked_from.session_id, line.forked_from.turn_id)
    return SessionFact(
        line.session_id,
        line.temperament,
        line.temperament_digest,
        line.temperament_text,
        line.keep_text,
        line.created_ns,
        origin,
    )


def _cause_of(line: StimulusLine) -> Cause:
    if (line.reading is None) == (line.event is None):
        raise LineError("must have either a reading or an event")
    if line.event is not None:
        return Event(line.event.name, line.event.intensity + 0.0)
    given = line.reading
    assert given is not None
    emotions = given.emotions
    if len({emotion.label for emotion in emotions}) < len(emotions):
        raise LineError("reading.emotions: two of them have the same label")
    uncertainty = given.uncertainty
    return Reading(
        # A zero loses its sign, as it does when it is recorded.
        valence=given.valence + 0.0,
        intimacy=given.intimacy + 0.0,
        tension=given.tension + 0.0,
        confidence=given.confidence + 0.0,
        uncertainty=None
        if uncertainty is None
        else AxisUncertainty(uncertainty.valence, uncertainty.intimacy, uncertainty.tension),
        emotions=Emotions(
            tuple(emotion.label for emotion in emotions),
            tuple(emotion.probability for emotion in emotions),
            tuple(emotion.active for emotion in emotions),
        ),
        head=HeadIdentity(given.head.id, given.head.quantization, given.head.calibration),
        truncated=given.truncated,
        reasoning=given.reasoning,
        latency_ns=given.latency_ns,
    )
