"""A reading as it stands in the feeds: one line of JSON for programs, a few lines for people. Pure."""

from __future__ import annotations

import json
import unicodedata
from datetime import UTC, datetime

from google.protobuf.json_format import MessageToDict

from limbic.affect.v1 import affect_pb2
from limbic.gateway.v1 import gateway_pb2

_NS = 1_000_000_000
_HALF_CELLS = 10
_EMOTIONS_SHOWN = 4
_DIRECTING = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""Characters that turn the direction of what follows: in a log they could make one line look like another."""


def raw_line(reading: gateway_pb2.TelemetryReading) -> str:
    """Return a reading as one line of protobuf's JSON with the proto's field names, as `training harvest` reads it."""
    fields = MessageToDict(reading, preserving_proto_field_name=True)
    return json.dumps(fields, ensure_ascii=False, separators=(",", ":")) + "\n"


def readable_lines(reading: gateway_pb2.TelemetryReading) -> str:
    """Return a reading for people: when, what became of it, the axes as bars, the emotions, and words and reason where they are kept."""
    # With nanoseconds, and not by way of a float, which would turn .120 into .119.
    at_ns = reading.occurred_at.ToNanoseconds()
    moment = datetime.fromtimestamp(at_ns // _NS, UTC)
    status = gateway_pb2.AffectStatus.Name(reading.status).removeprefix("AFFECT_STATUS_").replace("_", " ").lower()
    latency_ms = reading.latency.ToNanoseconds() / 1e6
    lines = [
        f"{moment:%Y-%m-%d %H:%M:%S}.{at_ns % _NS // 1_000_000:03d}Z  {status} after {latency_ms:.0f} ms  {reading.turn_id}"
    ]
    if reading.HasField("reading"):
        lines += _axes(reading.reading)
    if reading.text:
        lines.append(f"  said        {one_line(reading.text)}")
    if reading.reading.reasoning:
        lines.append(f"  why         {one_line(reading.reading.reasoning)}")
    return "\n".join(lines) + "\n\n"


def one_line(text: str) -> str:
    """Return words on one line, without what could rewrite a terminal or turn the line around."""
    kept = (char if unicodedata.category(char) != "Cc" else " " for char in text if char not in _DIRECTING)
    return " ".join("".join(kept).split())


def _axes(reading: affect_pb2.AffectReading) -> list[str]:
    spread = reading.uncertainty
    rows = (
        ("valence", reading.valence, spread.valence),
        ("intimacy", reading.intimacy, spread.intimacy),
        ("tension", reading.tension, spread.tension),
    )
    lines = [f"  {name:<11} {_bar(value)} {value:+.2f} ± {deviation:.2f}" for name, value, deviation in rows]
    active = sorted((one for one in reading.emotions if one.active), key=lambda one: -one.probability)
    emotions = (
        ", ".join(f"{one.label} {one.probability:.2f}" for one in active[:_EMOTIONS_SHOWN])
        or "none above its threshold"
    )
    head = " ".join(part for part in (reading.head.id, reading.head.quantization) if part)
    lines.append(f"  confidence  {reading.confidence:.2f}    emotions  {emotions}    head  {head or 'unknown'}")
    return lines


def _bar(value: float) -> str:
    cells = min(_HALF_CELLS, round(abs(value) * _HALF_CELLS))
    left = ("█" * cells if value < 0 else "").rjust(_HALF_CELLS, "·")
    right = ("█" * cells if value > 0 else "").ljust(_HALF_CELLS, "·")
    return f"{left}│{right}"
