"""What a turn says to the probe, and the contracts' messages as the probe's own numbers. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from limbic.affect.v1 import affect_pb2
from limbic.gateway.v1 import gateway_pb2
from limbic.probes.errors import NotProbedError
from limbic.probes.levels import HORMONES, Distances, Reading
from limbic.probes.script import Reader
from limbic.state.v1 import state_pb2

PERSON_CONFIDENCE = 0.65
"""Of a person's reading in a replay. The default head's own confidence in clear sentences lies about here."""

_FELT = (gateway_pb2.AFFECT_STATUS_IN_WINDOW, gateway_pb2.AFFECT_STATUS_LATE)


@dataclass(frozen=True, slots=True)
class Heard:
    """What a turn led to. Times in seconds from the call.

    Attributes:
        turn_id: the words'.
        status: what became of the reading.
        reading: what the head said; None where it has not come.
        state_after: the state that the turn ended with, as distances; None where none came after the words.
        reply: what was answered; empty where the probe did not wait for it.
        reply_turn_id: the reply's own id.
        first_delta_s: until the first words of the reply; None if there were none.
        trace: what the turn did; empty where the probe did not wait for it.
    """

    turn_id: str
    status: int
    reading: Reading | None
    state_after: Distances | None
    reply: str
    reply_turn_id: str
    first_delta_s: float | None
    trace: gateway_pb2.Trace


class Hearing:
    """What a turn has said so far. `turn_id`: the words' own."""

    def __init__(self, turn_id: str) -> None:
        self._turn_id = turn_id
        self._status = 0
        self._reading: Reading | None = None
        self._state: Distances | None = None
        self._reply: list[str] = []
        self._first_delta_s: float | None = None
        self._done = gateway_pb2.Done()

    @property
    def is_felt(self) -> bool:
        """Whether the words have been read and recorded, or will not be within this call."""
        return self._status not in (0, gateway_pb2.AFFECT_STATUS_PENDING)

    def take(self, response: gateway_pb2.TurnResponse, at_s: float) -> None:
        """Take in a response that came `at_s` seconds after the call."""
        match response.WhichOneof("event"):
            case "affect" | "late_affect" as event:
                update: gateway_pb2.AffectUpdate = getattr(response, event)
                self._status = update.status
                if update.HasField("reading") and update.status in _FELT:
                    self._reading = reading_of(update.reading)
                if update.HasField("state"):
                    self._state = distances(update.state)
            case "delta":
                if self._first_delta_s is None:
                    self._first_delta_s = at_s
                self._reply.append(response.delta.text)
            case "done":
                self._done = response.done

    def heard(self) -> Heard:
        """Return what was heard."""
        return Heard(
            self._turn_id,
            self._status,
            self._reading,
            self._state,
            "".join(self._reply),
            self._done.reply_turn_id,
            self._first_delta_s,
            self._done.trace,
        )


def distances(state: state_pb2.State) -> dict[str, float]:
    """Return how far each hormone of a state is from its baseline.

    Raises:
        NotProbedError: it lacks a hormone that the suites speak of.
    """
    found = {level.name: level.value - level.baseline for level in state.levels}
    if missing := [name for name in HORMONES if name not in found]:
        raise NotProbedError(f"the state has no {', '.join(missing)}")
    return found


def reading_of(message: affect_pb2.AffectReading) -> Reading:
    """Return a reading, of its emotions only those that count."""
    active = {one.label: one.probability for one in message.emotions if one.active}
    return Reading(message.valence, message.intimacy, message.tension, message.confidence, active)


def as_reading(reader: Reader) -> affect_pb2.AffectReading:
    """Return a person's reading as a head would say it; what people differ on is 0."""
    voiced = [
        affect_pb2.Emotion(label=label, probability=probability, active=True)
        for label, probability in reader.voices.items()
    ]
    return affect_pb2.AffectReading(
        valence=reader.axes["valence"] or 0.0,
        intimacy=reader.axes["intimacy"] or 0.0,
        tension=reader.axes["tension"] or 0.0,
        confidence=PERSON_CONFIDENCE,
        emotions=voiced,
    )
