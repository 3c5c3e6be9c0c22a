"""Facts as rows of the tables in `migrations/`, and back, with every float to the last bit."""

from __future__ import annotations

import json
from functools import cache, lru_cache
from typing import Any, Final

from services.state_engine.causes import AxisUncertainty, Cause, Emotions, Event, HeadIdentity, Reading
from services.state_engine.journal.facts import Role, StimulusFact, TurnFact

Row = tuple[Any, ...]

TURN_COLUMNS: Final = ("turn_id", "parent_turn_id", "role", "occurred_ns", "recorded_ns", "text", "cut")
STIMULUS_COLUMNS: Final = (
    "stimulus_id", "turn_id", "occurred_ns", "recorded_ns",
    "valence", "intimacy", "tension", "confidence", "valence_sd", "intimacy_sd", "tension_sd", "emotions",
    "head_id", "head_quantization", "head_calibration", "truncated", "reasoning", "latency_ns",
    "event_name", "event_intensity",
)  # fmt: skip

_READING_COLUMNS: Final = 14


@cache
def insert_rows(table: str, columns: tuple[str, ...], rows: int) -> str:
    """Return the statement that inserts this many rows at once; session_key and sequence come first in each.

    One statement and not one for each row: sqlite3 gives up the interpreter's lock at each, and to get it back from a busy event loop
    takes milliseconds.
    """
    names = ("session_key", "sequence", *columns)
    row = f"({', '.join('?' * len(names))})"
    return f"INSERT INTO {table} ({', '.join(names)}) VALUES {', '.join([row] * rows)}"


def turn_row(turn: TurnFact) -> Row:
    """Return the values of TURN_COLUMNS."""
    return (
        turn.turn_id,
        turn.parent_turn_id,
        int(turn.role),
        turn.occurred_ns,
        turn.recorded_ns,
        turn.text,
        int(turn.cut),
    )


def turn_of(row: Row) -> TurnFact:
    """Return the fact that a row of TURN_COLUMNS holds."""
    turn_id, parent, role, occurred, recorded, text, cut = row
    return TurnFact(turn_id, parent, Role(role), occurred, recorded, text, bool(cut))


def stimulus_row(stimulus: StimulusFact) -> Row:
    """Return the values of STIMULUS_COLUMNS."""
    head = (stimulus.stimulus_id, stimulus.turn_id, stimulus.occurred_ns, stimulus.recorded_ns)
    cause = stimulus.cause
    if isinstance(cause, Event):
        return (*head, *(None,) * _READING_COLUMNS, cause.name, cause.intensity)
    return (
        *head,
        cause.valence,
        cause.intimacy,
        cause.tension,
        cause.confidence,
        *(cause.uncertainty or (None, None, None)),
        _emotions_text(cause.emotions),
        *cause.head,
        int(cause.truncated),
        cause.reasoning,
        cause.latency_ns,
        None,
        None,
    )


def stimulus_of(row: Row) -> StimulusFact:
    """Return the fact that a row of STIMULUS_COLUMNS holds."""
    stimulus_id, turn_id, occurred, recorded, *values = row
    return StimulusFact(stimulus_id, turn_id, occurred, recorded, _cause(values))


def _emotions_text(emotions: Emotions) -> str:
    # A finite float's repr is the shortest JSON that reads back as the same float.
    probabilities = ",".join(map(repr, emotions.probabilities))
    active = ",".join([str(index) for index, is_active in enumerate(emotions.active) if is_active])
    return f"[{_labels_text(emotions.labels)},[{probabilities}],[{active}]]"


def _emotions_of(text: str) -> Emotions:
    labels, probabilities, active = json.loads(text)
    return Emotions(tuple(labels), tuple(probabilities), tuple(index in active for index in range(len(labels))))


@lru_cache(maxsize=64)
def _labels_text(labels: tuple[str, ...]) -> str:
    # A head's labels are the same in each of its readings.
    return json.dumps(labels, separators=(",", ":"))


def _cause(values: list[Any]) -> Cause:
    valence, intimacy, tension, confidence, v_sd, i_sd, t_sd, emotions = values[:8]
    head_id, quantization, calibration, truncated, reasoning, latency, event_name, event_intensity = values[8:]
    if event_name is not None:
        return Event(event_name, event_intensity)
    return Reading(
        valence=valence,
        intimacy=intimacy,
        tension=tension,
        confidence=confidence,
        uncertainty=None if v_sd is None else AxisUncertainty(v_sd, i_sd, t_sd),
        emotions=_emotions_of(emotions),
        head=HeadIdentity(head_id, quantization, calibration),
        truncated=bool(truncated),
        reasoning=reasoning,
        latency_ns=latency,
    )
