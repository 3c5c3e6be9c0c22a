"""Checks on what callers send. Each names the field, as in the proto, and says what would be accepted."""

from __future__ import annotations

import math
import re
import secrets

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from limbic.runtime.clock import NS_PER_S
from limbic.runtime.errors import InvalidArgumentError

_IDENTIFIER = re.compile(r"[A-Za-z0-9._:-]{1,128}")

FUTURE_TOLERANCE_NS = 2 * NS_PER_S
"""How far ahead of our clock an event may lie: hosts' clocks differ a little."""

EARLIEST_NS = 946_684_800 * NS_PER_S
"""2000-01-01: an earlier moment is a unit mistake (seconds for milliseconds) and not a memory."""


def identifier(field: str, value: str) -> str:
    """Check an id: 1 to 128 of the characters `A-Z a-z 0-9 . _ : -`."""
    if not value:
        raise InvalidArgumentError(field, "is required")
    if _IDENTIFIER.fullmatch(value) is None:
        raise InvalidArgumentError(field, "must be 1 to 128 of the characters A-Z a-z 0-9 . _ : -")
    return value


def identifier_or_new(field: str, value: str, prefix: str) -> str:
    """Check an id, or make a random one of the form PREFIX-… if it is empty."""
    return identifier(field, value) if value else f"{prefix}-{secrets.token_hex(12)}"


def text(field: str, value: str, max_chars: int) -> str:
    """Check words: not only white space, at most `max_chars` code points, no NUL."""
    if len(value) > max_chars:
        raise InvalidArgumentError(field, f"must have at most {max_chars:,} characters; it has {len(value):,}")
    if not value.strip():
        raise InvalidArgumentError(field, "must not be empty or only white space")
    if "\x00" in value:
        raise InvalidArgumentError(field, "must not contain NUL characters")
    return value


def optional_text(field: str, value: str, max_chars: int) -> str:
    """Check words that may be missing."""
    return text(field, value, max_chars) if value else value


def number(field: str, value: float, low: float, high: float) -> float:
    """Check a finite number in low…high."""
    if not math.isfinite(value) or not low <= value <= high:
        raise InvalidArgumentError(field, f"must be a number from {low:g} to {high:g}")
    return value


def count(field: str, value: int, high: int, *, default: int) -> int:
    """Check a page size or limit in 1…high; 0 stands for the default."""
    if value == 0:
        return default
    if not 1 <= value <= high:
        raise InvalidArgumentError(field, f"must be from 1 to {high:,}, or 0 for {default:,}")
    return value


def past_ns(field: str, value: Timestamp, now_ns: int) -> int:
    """Check a moment that has come already and return it in nanoseconds since the epoch.

    A moment ahead of `now_ns` by no more than the tolerance counts as it stands.
    """
    moment = _timestamp_ns(field, value)
    if moment > now_ns + FUTURE_TOLERANCE_NS:
        ahead = (moment - now_ns) / NS_PER_S
        raise InvalidArgumentError(
            field, f"lies {ahead:.3f} s in the future; at most {FUTURE_TOLERANCE_NS / NS_PER_S:g} s are allowed"
        )
    if moment < EARLIEST_NS:
        raise InvalidArgumentError(field, "lies before the year 2000")
    return moment


def duration_s(field: str, value: Duration, low: float, high: float) -> float:
    """Check a duration of low…high seconds and return it in seconds."""
    if not -999_999_999 <= value.nanos <= 999_999_999:
        raise InvalidArgumentError(field, "is not a valid duration")
    seconds = value.seconds + value.nanos / NS_PER_S
    return number(field, seconds, low, high)


def _timestamp_ns(field: str, value: Timestamp) -> int:
    # The limits of google.protobuf.Timestamp: years 1 to 9999.
    if not (-62_135_596_800 <= value.seconds <= 253_402_300_799 and 0 <= value.nanos <= 999_999_999):
        raise InvalidArgumentError(field, "is not a valid timestamp")
    return int(value.seconds) * NS_PER_S + int(value.nanos)
