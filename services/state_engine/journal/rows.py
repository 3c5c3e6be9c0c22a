"""Facts as rows of the tables in `migrations/`, and back, with every float to the last bit."""

from __future__ import annotations

import json
import struct
from binascii import a2b_base64, b2a_base64
from collections.abc import Callable, Iterable, Iterator
from dataclasses import astuple, dataclass
from functools import cache, lru_cache
from heapq import merge
from operator import attrgetter
from typing import Any, Final

from services.state_engine.causes import AxisUncertainty, Cause, Emotions, Event, HeadIdentity, Reading
from services.state_engine.journal.facts import (
    ForkOrigin,
    LaterFact,
    NumberedFact,
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

Row = tuple[Any, ...]

SESSION_COLUMNS: Final = (
    "session_id", "temperament", "temperament_digest", "keep_text", "created_ns", "forked_from_session_id", "forked_from_turn_id",
)  # fmt: skip
TURN_COLUMNS: Final = ("turn_id", "parent_turn_id", "role", "occurred_ns", "recorded_ns", "text", "cut")
STIMULUS_COLUMNS: Final = (
    "stimulus_id", "turn_id", "occurred_ns", "recorded_ns",
    "valence", "intimacy", "tension", "confidence", "valence_sd", "intimacy_sd", "tension_sd", "emotions",
    "head_id", "head_quantization", "head_calibration", "truncated", "reasoning", "latency_ns",
    "event_name", "event_intensity",
)  # fmt: skip

_READING_COLUMNS: Final = 14


@dataclass(frozen=True, slots=True)
class Table:
    """A table of facts of one kind: its name, its columns besides session_key and sequence, and the way there and back."""

    name: str
    columns: tuple[str, ...]
    row: Callable[[Any], Row]
    fact: Callable[[Row], LaterFact]


@cache
def insert_rows(table: str, columns: tuple[str, ...], rows: int) -> str:
    """Return the statement that inserts this many rows at once; session_key and sequence come first in each.

    One statement and not one for each row: sqlite3 gives up the interpreter's lock at each, and to get it back from a busy event loop
    takes milliseconds.
    """
    names = ("session_key", "sequence", *columns)
    row = f"({', '.join('?' * len(names))})"
    return f"INSERT INTO {table} ({', '.join(names)}) VALUES {', '.join([row] * rows)}"


def session_row(session: SessionFact) -> Row:
    """Return the values of SESSION_COLUMNS. The text of the temperament has a table of its own."""
    origin = session.forked_from or (None, None)
    return (
        session.session_id,
        session.temperament,
        session.temperament_digest,
        int(session.keep_text),
        session.created_ns,
        *origin,
    )


def session_of(row: Row) -> SessionFact:
    """Return the fact that the text of its temperament and a row of SESSION_COLUMNS hold, in this order."""
    text, session_id, temperament, digest, keep_text, created, *origin = row
    forked_from = None if origin[0] is None else ForkOrigin(*origin)
    return SessionFact(session_id, temperament, digest, text, bool(keep_text), created, forked_from)


def log_of(key: int, session: SessionFact, found: Iterable[tuple[Table, Iterable[Row]]]) -> SessionLog:
    """Return the log that the rows of all tables make up; sequence comes first in each row, and each table's are in its order."""
    facts = [*in_order(found)]
    return SessionLog(session, [fact for _, fact in facts], facts[-1].sequence if facts else 1, key)


def in_order(found: Iterable[tuple[Table, Iterable[Row]]]) -> Iterator[NumberedFact]:
    """Yield the facts of several tables in the order in which they were recorded, each made from its row when it is wanted.

    Rows as in `log_of`.
    """
    return merge(*(_numbered(table, rows) for table, rows in found), key=attrgetter("sequence"))


def _numbered(table: Table, rows: Iterable[Row]) -> Iterator[NumberedFact]:
    return (NumberedFact(row[0], table.fact(row[1:])) for row in rows)


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
    # JSON: [[label, …], probabilities, [index of an active one, …]]. The probabilities are little-endian doubles in base64: to write 28 of
    # them as decimals would cost half as much as the rest of a record's rows.
    packed = b2a_base64(_doubles(len(emotions.labels)).pack(*emotions.probabilities), newline=False).decode()
    active = [index for index, is_active in enumerate(emotions.active) if is_active]
    return f'[{_labels_text(emotions.labels)},"{packed}",{active}]'


def _emotions_of(text: str) -> Emotions:
    # Taken apart by hand: most of the time that a long session needs to load would go into JSON.
    labels_text, _, rest = text[2:].partition("],")
    labels = _labels_of(labels_text)
    if rest.startswith('"'):
        packed, _, active_text = rest[1:-2].partition('",[')
        probabilities = _doubles(len(labels)).unpack(a2b_base64(packed))
    else:
        # Decimals, as earlier versions wrote them.
        decimals, _, active_text = rest[1:-2].partition("],[")
        probabilities = tuple(map(float, decimals.split(","))) if labels else ()
    active = [False] * len(labels)
    for index in active_text.split(",") if active_text else ():
        active[int(index)] = True
    return Emotions(labels, probabilities, tuple(active))


@lru_cache(maxsize=64)
def _doubles(count: int) -> struct.Struct:
    return struct.Struct(f"<{count}d")


@lru_cache(maxsize=64)
def _labels_of(text: str) -> tuple[str, ...]:
    return tuple(json.loads(f"[{text}]"))


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


def _plain(name: str, columns: tuple[str, ...], kind: Callable[..., LaterFact]) -> Table:
    # The columns are the fact's own fields, in order.
    return Table(name, columns, astuple, lambda row: kind(*row))


TABLES: Final[dict[type[LaterFact], Table]] = {
    TurnFact: Table("turns", TURN_COLUMNS, turn_row, turn_of),
    StimulusFact: Table("stimuli", STIMULUS_COLUMNS, stimulus_row, stimulus_of),
    RetractionFact: _plain("retractions", ("stimulus_id", "recorded_ns"), RetractionFact),
    PauseFact: _plain("pauses", ("pause_id", "from_ns", "recorded_ns"), PauseFact),
    ResumptionFact: _plain("resumptions", ("pause_id", "from_ns", "recorded_ns"), ResumptionFact),
    RewindFact: _plain("rewinds", ("rewind_id", "turn_id", "recorded_ns"), RewindFact),
}
"""Where each kind of fact is kept. Together they hold all that a session's log holds after its opening."""
