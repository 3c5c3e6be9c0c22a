from __future__ import annotations

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration

from limbic.affect.v1 import affect_pb2
from limbic.cli import words
from limbic.gateway.v1 import gateway_pb2
from limbic.llm.v1 import llm_pb2
from limbic.runtime.errors import RpcFailure
from limbic.state.v1 import state_pb2

READING = affect_pb2.AffectReading(
    valence=0.412,
    intimacy=0.3,
    tension=-0.25,
    confidence=0.731,
    emotions=[
        affect_pb2.Emotion(label="love", probability=0.4, active=True),
        affect_pb2.Emotion(label="joy", probability=0.6, active=True),
        affect_pb2.Emotion(label="anger", probability=0.9, active=False),
    ],
)


def failed(code: grpc.StatusCode, reason: str = "", message: str = "", retry_after: float | None = None) -> RpcFailure:
    return RpcFailure(code, reason, message, retry_after, {})


def test_a_state_is_one_line_with_bands_and_moods() -> None:
    state = state_pb2.State(
        levels=[state_pb2.Level(name="dopamine", value=61.4, baseline=50, band=state_pb2.BAND_RISING)],
        moods=[state_pb2.Mood(name="warmth", intensity=-0.126), state_pb2.Mood(name="unease", intensity=-0.001)],
    )

    assert words.levels(state) == "dopamine 61 rising · warmth -0.13 · unease 0.00"


def test_a_reading_names_its_active_emotions_strongest_first() -> None:
    assert (
        words.reading(READING) == "valence +0.41, intimacy +0.30, tension -0.25, confidence 0.73; joy 0.60, love 0.40"
    )


@pytest.mark.parametrize("status", [s for s in gateway_pb2.AffectStatus.values() if s != 0])
def test_every_affect_status_has_words_of_its_own(status: gateway_pb2.AffectStatus.ValueType) -> None:
    update = gateway_pb2.AffectUpdate(status=status)
    others = {
        words.affect(gateway_pb2.AffectUpdate(status=s)) for s in gateway_pb2.AffectStatus.values() if s != status
    }

    assert words.affect(update) not in others


def test_a_late_reading_says_by_how_much_it_missed_the_window() -> None:
    late = gateway_pb2.AffectUpdate(
        status=gateway_pb2.AFFECT_STATUS_LATE, reading=READING, lateness=Duration(seconds=4, nanos=410_000_000)
    )

    assert "4.41 s after the window" in words.affect(late)
    assert "joy 0.60" in words.affect(late)


def test_the_end_says_when_the_first_words_came_and_what_was_missing() -> None:
    stage = gateway_pb2.Stage(
        name="first_delta", start=Duration(nanos=50_000_000), duration=Duration(nanos=200_000_000)
    )
    done = gateway_pb2.Done(
        trace=gateway_pb2.Trace(stages=[stage], upstream="embedded", model="m", degraded_reasons=["no engine"]),
        finish_reason=llm_pb2.FINISH_REASON_STOP,
        usage=llm_pb2.Usage(completion_tokens=23),
    )

    assert words.ending(done) == "stop · 23 tokens · m (embedded) · first words after 0.25 s · degraded: no engine"


def test_a_models_words_cannot_rewrite_the_terminal() -> None:
    assert words.printable("a\x1b[2Jb\r\x07\n\tc") == "a[2Jb\n\tc"


@pytest.mark.parametrize(
    ("failure", "said"),
    [
        (failed(grpc.StatusCode.UNAVAILABLE), "No gateway at HERE answers. `make up` starts it"),
        (failed(grpc.StatusCode.DEADLINE_EXCEEDED), "longer than it may"),
        (failed(grpc.StatusCode.UNAVAILABLE, "SERVER_DRAINING", "the service is going down", 1.0), "Try again in 1 s"),
        (
            failed(grpc.StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT", "text: must not be empty"),
            "text: must not be empty",
        ),
    ],
)
def test_a_failure_says_what_to_do(failure: RpcFailure, said: str) -> None:
    assert said in words.failure(failure, "gateway at HERE")
