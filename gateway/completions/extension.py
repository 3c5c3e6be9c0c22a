"""The `limbic` object in responses: what the character feels, and what the turn did. Pure.

Official clients keep fields that they do not know and show them as extras; others pass over them.
"""

from __future__ import annotations

from typing import Any

from gateway.events import AffectKnown, LateAffect, StateKnown, TraceRecord
from limbic.affect.v1 import affect_pb2
from limbic.gateway.v1 import gateway_pb2
from limbic.state.v1 import state_pb2

_DIGITS = 4


def state_fields(state: state_pb2.State) -> dict[str, Any]:
    """Return a state: levels with their bands, and moods."""
    return {
        "as_of": state.as_of.ToJsonString() if state.HasField("as_of") else None,
        "levels": [
            {
                "name": level.name,
                "value": round(level.value, _DIGITS),
                "baseline": round(level.baseline, _DIGITS),
                "band": _word(state_pb2.Band.Name(level.band), "BAND_"),
            }
            for level in state.levels
        ],
        "moods": [{"name": mood.name, "intensity": round(mood.intensity, _DIGITS)} for mood in state.moods],
    }


def affect_fields(affect: AffectKnown | LateAffect) -> dict[str, Any]:
    """Return what became of the reading of the words."""
    return {
        "status": _word(gateway_pb2.AffectStatus.Name(affect.status), "AFFECT_STATUS_"),
        "reason": affect.reason,
        "reading": _reading(affect.reading) if affect.reading is not None else None,
        "lateness_s": round(affect.lateness_s, _DIGITS) if isinstance(affect, LateAffect) else None,
    }


def trace_fields(trace: TraceRecord) -> dict[str, Any]:
    """Return what the turn did, stage by stage; durations in seconds."""
    return {
        "trace_id": trace.trace_id,
        "upstream": trace.upstream,
        "model": trace.model,
        "omitted_messages": trace.omitted_messages,
        "stages": [
            {
                "name": stage.name,
                "start_s": round(stage.start_s, _DIGITS + 2),
                "duration_s": round(stage.duration_s, _DIGITS + 2),
                "status": _word(gateway_pb2.StageStatus.Name(stage.status), "STAGE_STATUS_"),
                "detail": stage.detail,
            }
            for stage in trace.stages
        ],
    }


class Extension:
    """Collects what a turn's events say, and writes it down as far as it is known.

    Args:
        session_id: the conversation, as far as it is known before the turn is placed.
    """

    def __init__(self, session_id: str) -> None:
        self._session_id = session_id
        self._turn_id = ""
        self._state: state_pb2.State | None = None
        self._affect: AffectKnown | LateAffect | None = None
        self._degraded = False

    def state_known(self, event: StateKnown) -> None:
        """Take in the state before the words."""
        self._session_id = event.state.session_id or self._session_id
        self._turn_id = event.turn_id
        self._state = event.state
        self._degraded = event.degraded

    def affect_known(self, event: AffectKnown | LateAffect) -> None:
        """Take in what the words made felt."""
        self._affect = event
        if event.state is not None:
            self._state = event.state

    def headers(self, trace_id: str) -> dict[str, str]:
        """Return the same in short, as headers."""
        headers = {
            "x-limbic-session": self._session_id,
            "x-limbic-degraded": str(self._degraded).lower(),
            "x-limbic-trace": trace_id,
        }
        return {**headers, "x-limbic-turn": self._turn_id} if self._turn_id else headers

    def fields(self) -> dict[str, Any]:
        """Return what is known before the reply has ended."""
        return {
            "session_id": self._session_id,
            "turn_id": self._turn_id or None,
            "affect": affect_fields(self._affect) if self._affect is not None else None,
            "state": state_fields(self._state) if self._state is not None else None,
            "degraded": self._degraded,
        }

    def final_fields(self, trace: TraceRecord, reply_turn_id: str) -> dict[str, Any]:
        """Return all of it."""
        return {
            **self.fields(),
            "reply_turn_id": reply_turn_id or None,
            "degraded": bool(trace.degraded_reasons),
            "degraded_reasons": list(trace.degraded_reasons),
            "trace": trace_fields(trace),
        }


def _reading(reading: affect_pb2.AffectReading) -> dict[str, Any]:
    return {
        "valence": round(reading.valence, _DIGITS),
        "intimacy": round(reading.intimacy, _DIGITS),
        "tension": round(reading.tension, _DIGITS),
        "confidence": round(reading.confidence, _DIGITS),
        "emotions": [
            {"label": emotion.label, "probability": round(emotion.probability, _DIGITS)}
            for emotion in reading.emotions
            if emotion.active
        ],
    }


def _word(name: str, prefix: str) -> str:
    return name.removeprefix(prefix).lower()
