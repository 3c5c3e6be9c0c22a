"""What the lines of an export look like: which keys, of which types and in which ranges. Anything else is refused."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, TypeAdapter

from limbic.runtime.validate import EARLIEST_NS
from services.state_engine.reading_message import (
    MAX_EMOTIONS,
    MAX_LATENCY_S,
    MAX_NAME_CHARS,
    MAX_REASONING_CHARS,
    MAX_UNCERTAINTY,
)
from services.state_engine.requests import MAX_TEMPERAMENT_CHARS, MAX_TEXT_CHARS

FORMAT: Final = "limbic.session"
VERSION: Final = 1

_ID = r"[A-Za-z0-9._:-]{1,128}"
_NO_NUL = r"[^\x00]*"
Id = Annotated[str, StringConstraints(pattern=rf"^{_ID}$")]
IdOrRoot = Annotated[str, StringConstraints(pattern=rf"^({_ID})?$")]
Moment = Annotated[int, Field(ge=EARLIEST_NS, lt=2**63)]
Axis = Annotated[float, Field(ge=-1.0, le=1.0)]
Share = Annotated[float, Field(ge=0.0, le=1.0)]
Deviation = Annotated[float, Field(ge=0.0, le=MAX_UNCERTAINTY)]


def _text(longest: int) -> Any:
    return StringConstraints(max_length=longest, pattern=rf"^{_NO_NUL}$")


class _Line(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class OriginLine(_Line):
    """Where a session was forked from."""

    session_id: Id
    turn_id: IdOrRoot


class OpeningLine(_Line):
    """How a session was opened: the first line."""

    fact: Literal["session"]
    format: Literal["limbic.session"]
    version: Literal[1]
    session_id: Id
    temperament: Id
    temperament_digest: str
    temperament_text: Annotated[str, StringConstraints(max_length=MAX_TEMPERAMENT_CHARS)]
    keep_text: bool
    created_ns: Moment
    forked_from: OriginLine | None


class TurnLine(_Line):
    """Something that was said."""

    fact: Literal["turn"]
    turn_id: Id
    parent_turn_id: IdOrRoot
    role: Literal["user", "assistant"]
    occurred_ns: Moment
    recorded_ns: Moment
    text: Annotated[str, _text(MAX_TEXT_CHARS)]
    cut: bool


class UncertaintyLine(_Line):
    """One standard deviation for each axis."""

    valence: Deviation
    intimacy: Deviation
    tension: Deviation


class EmotionLine(_Line):
    """One emotion of a reading."""

    label: Id
    probability: Share
    active: bool


class HeadLine(_Line):
    """Which head it was."""

    id: Annotated[str, _text(MAX_NAME_CHARS)]
    quantization: Annotated[str, _text(MAX_NAME_CHARS)]
    calibration: Annotated[str, _text(MAX_NAME_CHARS)]


class ReadingLine(_Line):
    """How an utterance landed."""

    valence: Axis
    intimacy: Axis
    tension: Axis
    confidence: Share
    uncertainty: UncertaintyLine | None
    emotions: Annotated[list[EmotionLine], Field(max_length=MAX_EMOTIONS)]
    head: HeadLine
    truncated: bool
    reasoning: Annotated[str, _text(MAX_REASONING_CHARS)]
    latency_ns: Annotated[int, Field(ge=0, le=round(MAX_LATENCY_S * 1e9))] | None


class EventLine(_Line):
    """Something that the temperament knows by name."""

    name: Id
    intensity: Share


class StimulusLine(_Line):
    """Something that was felt: a reading or an event."""

    fact: Literal["stimulus"]
    stimulus_id: Id
    turn_id: IdOrRoot
    occurred_ns: Moment
    recorded_ns: Moment
    reading: ReadingLine | None = None
    event: EventLine | None = None


class RetractionLine(_Line):
    """A stimulus that was taken back."""

    fact: Literal["retraction"]
    stimulus_id: Id
    recorded_ns: Moment


class PauseLine(_Line):
    """When the session's clock was stopped, or ran again."""

    fact: Literal["pause", "resumption"]
    pause_id: Id
    from_ns: Moment
    recorded_ns: Moment


class RewindLine(_Line):
    """A move of the tip."""

    fact: Literal["rewind"]
    rewind_id: Id
    turn_id: IdOrRoot
    recorded_ns: Moment


class EndLine(_Line):
    """The last line."""

    fact: Literal["end"]
    facts: Annotated[int, Field(ge=1)]


ANY_LINE: Final[TypeAdapter[Any]] = TypeAdapter(
    Annotated[
        OpeningLine | TurnLine | StimulusLine | RetractionLine | PauseLine | RewindLine | EndLine,
        Field(discriminator="fact"),
    ]
)
