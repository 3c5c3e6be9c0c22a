"""Puts readings into the contract's messages."""

from __future__ import annotations

from collections.abc import Sequence

from google.protobuf.duration_pb2 import Duration

from limbic.affect.v1 import affect_pb2
from limbic.runtime.errors import LimbicError
from services.affect_head.explain import Contribution
from services.affect_head.head import HeadCard, HeadIdentity, Reading


def reading_message(reading: Reading, head: HeadIdentity, reasoning: str = "") -> affect_pb2.AffectReading:
    """Return the message of a reading that a head made."""
    axes, uncertainty = reading.axes, reading.uncertainty
    return affect_pb2.AffectReading(
        valence=axes.valence,
        intimacy=axes.intimacy,
        tension=axes.tension,
        confidence=reading.confidence,
        uncertainty=affect_pb2.AxisUncertainty(
            valence=uncertainty.valence, intimacy=uncertainty.intimacy, tension=uncertainty.tension
        ),
        emotions=[
            affect_pb2.Emotion(label=emotion.label, probability=emotion.probability, active=emotion.active)
            for emotion in reading.emotions
        ],
        reasoning=reasoning,
        head=_identity_message(head),
        latency=_duration(reading.latency_s),
        truncated=reading.truncated,
        context_turns=reading.context_turns,
    )


def card_message(card: HeadCard) -> affect_pb2.GetModelCardResponse:
    """Return the message of a head's card."""
    return affect_pb2.GetModelCardResponse(
        head=_identity_message(card.identity),
        sha256=card.sha256,
        emotions=[
            affect_pb2.EmotionThreshold(label=label, threshold=threshold)
            for label, threshold in zip(card.emotions, card.thresholds, strict=True)
        ],
        context_turns=card.context.turns,
        context_tokens=card.context_tokens,
        context_text_tokens=card.context.text_tokens,
        context_turn_tokens=card.context.turn_tokens,
        provenance_json=card.provenance_json,
    )


def contribution_messages(contributions: Sequence[Contribution]) -> list[affect_pb2.WordContribution]:
    """Return the messages of the words' contributions."""
    return [
        affect_pb2.WordContribution(
            word=contribution.word.text,
            offset=contribution.word.offset,
            valence=contribution.axes.valence,
            intimacy=contribution.axes.intimacy,
            tension=contribution.axes.tension,
        )
        for contribution in contributions
    ]


def error_message(error: LimbicError) -> affect_pb2.ClassifyError:
    """Return what a unary call would have ended with, as a message for one item of a stream."""
    return affect_pb2.ClassifyError(
        code=error.code.value[0],
        reason=error.reason,
        message=error.message,
        retry_delay=None if error.retry_after is None else _duration(error.retry_after),
    )


def _identity_message(head: HeadIdentity) -> affect_pb2.HeadIdentity:
    return affect_pb2.HeadIdentity(id=head.id, quantization=head.quantization, calibration=head.calibration)


def _duration(seconds: float) -> Duration:
    whole, nanos = divmod(round(seconds * 1e9), 1_000_000_000)
    return Duration(seconds=whole, nanos=nanos)
