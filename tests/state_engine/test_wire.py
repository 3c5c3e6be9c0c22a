"""Messages that are read and written as bytes are the same as those that are read and written by their fields."""

from __future__ import annotations

import math

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given
from hypothesis import strategies as st

from limbic.affect.v1 import affect_pb2
from limbic.runtime.errors import InvalidArgumentError
from limbic.state.v1 import state_pb2
from services.state_engine.emotion_bytes import EmotionBytes
from services.state_engine.reading_message import reading_of
from services.state_engine.readout import Band, Level, Mood
from services.state_engine.session import State
from services.state_engine.state_message import state_message

values = st.floats(0.0, 100.0)
names = st.text("abcdefghijklmnopqrstuvwxyz_0123456789", min_size=1, max_size=32)


@given(
    st.lists(st.builds(Level, names, values, values, st.sampled_from(Band)), max_size=5),
    st.lists(st.builds(Mood, names, st.floats(-1.0, 1.0)), max_size=16),
    st.integers(-(10**18), 4 * 10**18),
    st.integers(0, 2**63),
)
def test_a_state_is_the_message_of_its_fields(
    levels: list[Level], moods: list[Mood], as_of_ns: int, revision: int
) -> None:
    expected = state_pb2.State(
        session_id="s",
        turn_id="",
        as_of=Timestamp(seconds=as_of_ns // 10**9, nanos=as_of_ns % 10**9),
        levels=[
            state_pb2.Level(
                name=level.name, value=level.value, baseline=level.baseline,
                band=state_pb2.Band.Value(f"BAND_{level.band.name}"),
            )
            for level in levels
        ],
        moods=[state_pb2.Mood(name=mood.name, intensity=mood.intensity) for mood in moods],
        revision=revision,
    )  # fmt: skip

    message = state_message(State("s", "", as_of_ns, tuple(levels), tuple(moods), revision))

    assert message == expected
    assert state_pb2.State.FromString(message.SerializeToString()) == expected


emotion = st.builds(
    affect_pb2.Emotion,
    label=st.sampled_from(("joy", "fear", "anger", "grief\x32\x10", "*", "a" * 114, "a" * 115)),
    probability=st.one_of(st.just(0.0), st.floats(0.0, 1.0)),
    active=st.booleans(),
)
readings = st.builds(
    affect_pb2.AffectReading,
    valence=st.one_of(st.just(0.0), st.floats(-1.0, 1.0)),
    tension=st.floats(-1.0, 1.0),
    confidence=st.floats(0.0, 1.0),
    uncertainty=st.none()
    | st.builds(affect_pb2.AxisUncertainty, valence=st.floats(0.0, 1.0), tension=st.floats(0.0, 1.0)),
    emotions=st.lists(emotion, max_size=6),
    reasoning=st.sampled_from(("", "words", "2\x0e\n\x03joy\x11........")),
    truncated=st.booleans(),
)


@given(readings, readings)
def test_emotions_off_the_bytes_are_those_of_the_fields_or_none(
    known: affect_pb2.AffectReading, message: affect_pb2.AffectReading
) -> None:
    layout = EmotionBytes.of([one.label for one in known.emotions])
    if layout is None:
        return
    same_labels = affect_pb2.AffectReading()
    same_labels.CopyFrom(message)
    del same_labels.emotions[:]
    same_labels.emotions.extend(known.emotions)

    for one in (message, same_labels):
        found = layout.read(one)
        fields = [(entry.label, entry.probability, entry.active) for entry in one.emotions]
        assert found is None or list(zip(*found, strict=True)) == fields
    if all(entry.probability for entry in known.emotions):
        assert layout.read(same_labels) is not None


def a_reading(*probabilities: float, label: str = "joy") -> affect_pb2.AffectReading:
    emotions = [
        affect_pb2.Emotion(label=f"{label}{number}", probability=probability, active=number == 1)
        for number, probability in enumerate(probabilities)
    ]
    return affect_pb2.AffectReading(confidence=0.5, emotions=emotions, head=affect_pb2.HeadIdentity(id="a head"))


def test_a_head_that_sends_other_emotions_than_before_is_understood_and_checked_all_the_same() -> None:
    assert reading_of("r", a_reading(0.1, 0.2)).emotions.probabilities == (0.1, 0.2)
    again = reading_of("r", a_reading(0.3, 0.4))
    assert (again.emotions.labels, again.emotions.active) == (("joy0", "joy1"), (False, True))
    assert reading_of("r", a_reading(0.3, 0.4, 0.5)).emotions.probabilities == (0.3, 0.4, 0.5)
    assert reading_of("r", a_reading(0.3, label="fear")).emotions.labels == ("fear0",)
    assert reading_of("r", affect_pb2.AffectReading(head=affect_pb2.HeadIdentity(id="a head"))).emotions.labels == ()
    for wrong in (1.1, -0.1, math.nan, math.inf):
        reading_of("r", a_reading(0.1, 0.2))
        with pytest.raises(InvalidArgumentError, match=r"r\.emotions\[1\]\.probability"):
            reading_of("r", a_reading(0.5, wrong))
