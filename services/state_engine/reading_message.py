"""From a reading as the affect head sends it to one of ours, with every check.

Much of what a record costs is here, so the checks are made in bulk, and only what fails them is looked at one by one.
"""

from __future__ import annotations

from functools import lru_cache
from operator import attrgetter
from typing import Final

from limbic.affect.v1 import affect_pb2
from limbic.runtime import validate
from limbic.runtime.clock import NS_PER_S
from limbic.runtime.errors import InvalidArgumentError
from services.state_engine.causes import NO_EMOTIONS, AxisUncertainty, Emotions, HeadIdentity, Reading
from services.state_engine.emotion_bytes import EmotionBytes

MAX_EMOTIONS: Final = 64
MAX_REASONING_CHARS: Final = 8_000
MAX_NAME_CHARS: Final = 128
MAX_LATENCY_S: Final = 3_600.0
MAX_UNCERTAINTY: Final = 10.0

_EMOTION = attrgetter("label", "probability", "active")

_MAX_LAYOUTS: Final = 64
_LAYOUTS: Final[dict[HeadIdentity, EmotionBytes]] = {}
"""By head: what it sent last."""


def reading_of(field: str, message: affect_pb2.AffectReading) -> Reading:
    """Check a reading. `field` is where it stands in the request.

    Raises:
        InvalidArgumentError: something in it is out of its range; the error names it.
    """
    valence, intimacy, tension, confidence = message.valence, message.intimacy, message.tension, message.confidence
    # What is not a number passes none of these.
    if not (-1.0 <= valence <= 1.0 and -1.0 <= intimacy <= 1.0 and -1.0 <= tension <= 1.0 and 0.0 <= confidence <= 1.0):
        for axis, value in (("valence", valence), ("intimacy", intimacy), ("tension", tension)):
            validate.number(f"{field}.{axis}", value, -1.0, 1.0)
        validate.number(f"{field}.confidence", confidence, 0.0, 1.0)
    latency_ns: int | None = None
    if message.HasField("latency"):
        validate.duration_s(f"{field}.latency", message.latency, 0.0, MAX_LATENCY_S)
        latency_ns = message.latency.seconds * NS_PER_S + message.latency.nanos
    reasoning, head = message.reasoning, _head(field, message.head)
    return Reading(
        # A zero loses its sign here, because a database loses it too, and a replay must start from the same bits.
        valence=valence + 0.0,
        intimacy=intimacy + 0.0,
        tension=tension + 0.0,
        confidence=confidence + 0.0,
        uncertainty=_uncertainty(field, message.uncertainty) if message.HasField("uncertainty") else None,
        emotions=_emotions(field, message, head),
        head=head,
        truncated=message.truncated,
        reasoning=validate.text(f"{field}.reasoning", reasoning, MAX_REASONING_CHARS) if reasoning else "",
        latency_ns=latency_ns,
    )


def _uncertainty(field: str, message: affect_pb2.AxisUncertainty) -> AxisUncertainty:
    given = AxisUncertainty(message.valence, message.intimacy, message.tension)
    if not all(0.0 <= value <= MAX_UNCERTAINTY for value in given):
        for axis, value in given._asdict().items():
            validate.number(f"{field}.uncertainty.{axis}", value, 0.0, MAX_UNCERTAINTY)
    return given


def _emotions(field: str, message: affect_pb2.AffectReading, head: HeadIdentity) -> Emotions:
    layout = _LAYOUTS.get(head)
    emotions = layout.read(message) if layout is not None else None
    if emotions is None:
        given = message.emotions
        if not given:
            return NO_EMOTIONS
        if len(given) > MAX_EMOTIONS:
            raise InvalidArgumentError(f"{field}.emotions", f"must be at most {MAX_EMOTIONS}; there are {len(given):,}")
        emotions = Emotions(*zip(*map(_EMOTION, given), strict=True))
        _check_labels(field, emotions.labels)
        _remember_layout(head, emotions.labels)
    probabilities = emotions.probabilities
    # A sum is a number only if all are, and then the least and the largest say it of each.
    if not (min(probabilities) >= 0.0 and max(probabilities) <= 1.0 and sum(probabilities) >= 0.0):
        for index, probability in enumerate(probabilities):
            validate.number(f"{field}.emotions[{index}].probability", probability, 0.0, 1.0)
    return emotions


def _remember_layout(head: HeadIdentity, labels: tuple[str, ...]) -> None:
    layout = EmotionBytes.of(labels)
    if layout is not None:
        if len(_LAYOUTS) >= _MAX_LAYOUTS:
            _LAYOUTS.clear()
        _LAYOUTS[head] = layout


@lru_cache(maxsize=64)
def _check_labels(field: str, labels: tuple[str, ...]) -> None:
    # A head's labels are the same in each of its readings, so that they are looked at once.
    for index, label in enumerate(labels):
        validate.identifier(f"{field}.emotions[{index}].label", label)
    if len(set(labels)) < len(labels):
        raise InvalidArgumentError(f"{field}.emotions", "two of them have the same label")


@lru_cache(maxsize=64)
def _checked_head(field: str, head_id: str, quantization: str, calibration: str) -> HeadIdentity:
    return HeadIdentity(
        validate.optional_text(f"{field}.head.id", head_id, MAX_NAME_CHARS),
        validate.optional_text(f"{field}.head.quantization", quantization, MAX_NAME_CHARS),
        validate.optional_text(f"{field}.head.calibration", calibration, MAX_NAME_CHARS),
    )


def _head(field: str, message: affect_pb2.HeadIdentity) -> HeadIdentity:
    return _checked_head(field, message.id, message.quantization, message.calibration)
