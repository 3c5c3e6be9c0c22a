"""What can move a state: a reading of an utterance, or something that the application knows by name.

Values as they were received: nothing is rounded or clamped here, so that a replay starts from the same bits.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple


class Emotions(NamedTuple):
    """The emotions of a reading, in the head's own order: labels, probabilities in 0…1, and which passed the head's thresholds.

    Three tuples of equal length and not a tuple of objects: there are 28 in each reading, and a record must not cost by them.
    """

    labels: tuple[str, ...] = ()
    probabilities: tuple[float, ...] = ()
    active: tuple[bool, ...] = ()


class HeadIdentity(NamedTuple):
    """Which head made a reading: its name and version, the quantization of its weights, the version of its calibration."""

    head_id: str = ""
    quantization: str = ""
    calibration: str = ""


UNKNOWN_HEAD = HeadIdentity()
NO_EMOTIONS = Emotions()


class AxisUncertainty(NamedTuple):
    """One standard deviation of each axis, in the axis's own unit."""

    valence: float
    intimacy: float
    tension: float


@dataclass(frozen=True, slots=True)
class Reading:
    """How an utterance landed.

    Attributes:
        valence: −1 (unpleasant) to 1 (pleasant).
        intimacy: −1 (distant) to 1 (close).
        tension: −1 (at ease) to 1 (under pressure).
        confidence: 0 to 1; scales everything that the reading does.
        uncertainty: one standard deviation per axis, or None where the head gave none.
        emotions: which it voices.
        head: which head it was.
        truncated: whether the text did not fit the head's window.
        reasoning: why, in words; private like the text itself.
        latency_ns: how long the head took; None where it did not say.
    """

    valence: float
    intimacy: float
    tension: float
    confidence: float
    uncertainty: AxisUncertainty | None = None
    emotions: Emotions = NO_EMOTIONS
    head: HeadIdentity = UNKNOWN_HEAD
    truncated: bool = False
    reasoning: str = ""
    latency_ns: int | None = None

    def same_content(self, other: Reading) -> bool:
        """Whether both say the same. How long the head took and the words it found for it do not count."""
        return self._content() == other._content()

    def _content(self) -> tuple[object, ...]:
        axes = (self.valence, self.intimacy, self.tension, self.confidence)
        return (axes, self.uncertainty, self.emotions, self.head, self.truncated)


@dataclass(frozen=True, slots=True)
class Event:
    """Something that a temperament knows by name. Intensity 0 to 1."""

    name: str
    intensity: float = 1.0


Cause = Reading | Event


def same_cause(first: Cause, second: Cause) -> bool:
    """Whether two causes have the same content."""
    if isinstance(first, Reading) and isinstance(second, Reading):
        return first.same_content(second)
    return first == second
