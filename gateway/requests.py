"""Checks a TurnRequest and makes a turn of it."""

from __future__ import annotations

import math
import re
import secrets
from collections.abc import Iterable

from gateway.events import TurnInput
from limbic.gateway.v1 import gateway_pb2
from limbic.llm.v1 import llm_pb2
from limbic.runtime import validate
from limbic.runtime.clock import NS_PER_S
from limbic.runtime.errors import InvalidArgumentError
from limbic.runtime.tracing import current_trace_id

MAX_TEXT_CHARS = 8_000
MAX_PERSONA_CHARS = 16_000
MAX_WINDOW_S = 60.0
MIN_INTERVAL_S, MAX_INTERVAL_S, DEFAULT_INTERVAL_S = 0.2, 60.0, 1.0
"""Of telemetry that is watched."""
MAX_AGE_NS = 366 * 86_400 * NS_PER_S
"""Of words that are told later: a year, so that a clock that was never set does not date them to its own beginning."""
MAX_STOPS = 8
MAX_STOP_CHARS = 128
"""Of one stop sequence. Longer ones are no separators but a mistake."""

_TRACE_PARENT = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")
_NO_TRACE = "0" * 32


def turn_input(
    request: gateway_pb2.TurnRequest, *, persona: str, window_s: float, trace_id: str, deadline_at: float, now_ns: int
) -> TurnInput:
    """Return the turn that a request asks for.

    Args:
        request: as it came.
        persona: for a request that brings none.
        window_s: the affect window of a request that brings none, in seconds.
        trace_id: 32 hexadecimal digits.
        deadline_at: moment of the monotonic clock.
        now_ns: the present, since the epoch.

    Raises:
        InvalidArgumentError: a field cannot be used.
    """
    turn_id = validate.identifier_or_new("turn_id", request.turn_id, "t")
    parent = request.parent_turn_id if request.HasField("parent_turn_id") else None
    if parent:
        validate.identifier("parent_turn_id", parent)
        if parent == turn_id:
            raise InvalidArgumentError("parent_turn_id", "must not be the turn itself")
    options = request.options
    if options.HasField("affect_window"):
        window_s = validate.duration_s("options.affect_window", options.affect_window, 0.0, MAX_WINDOW_S)
    for field in ("style", "temperament"):
        if value := getattr(options, field):
            validate.identifier(f"options.{field}", value)
    _check_sampling(options.sampling)
    return TurnInput(
        session_id=validate.identifier_or_new("session_id", request.session_id, "s"),
        session_is_new=not request.session_id,
        turn_id=turn_id,
        parent_turn_id=parent,
        text=validate.text("text", request.text, MAX_TEXT_CHARS),
        persona=validate.optional_text("persona", request.persona, MAX_PERSONA_CHARS) or persona,
        affect_window_s=window_s,
        sampling=options.sampling,
        style=options.style,
        temperament=options.temperament,
        attempt_id=secrets.token_hex(4),
        trace_id=trace_id,
        deadline_at=deadline_at,
        said_at_ns=_said_at_ns(request, now_ns),
    )


def telemetry_interval_s(request: gateway_pb2.WatchTelemetryRequest) -> float:
    """Check how often to send the telemetry.

    Raises:
        InvalidArgumentError: that is too often, or too seldom.
    """
    if not request.HasField("interval"):
        return DEFAULT_INTERVAL_S
    return validate.duration_s("interval", request.interval, MIN_INTERVAL_S, MAX_INTERVAL_S)


def trace_id_of(metadata: Iterable[tuple[str, str | bytes]]) -> str:
    """Return the id of the trace being made, else that of a W3C `traceparent` header, else a new one."""
    if (made := current_trace_id()) is not None:
        return made
    for key, value in metadata:
        if key == "traceparent" and isinstance(value, str) and (match := _TRACE_PARENT.fullmatch(value)):
            trace_id = match.group(1)
            if trace_id != _NO_TRACE:
                return trace_id
    return secrets.token_hex(16)


def _said_at_ns(request: gateway_pb2.TurnRequest, now_ns: int) -> int | None:
    if not request.HasField("occurred_at"):
        return None
    said_at_ns = validate.past_ns("occurred_at", request.occurred_at, now_ns)
    if said_at_ns < now_ns - MAX_AGE_NS:
        raise InvalidArgumentError("occurred_at", "lies more than 366 days in the past")
    return said_at_ns


def _check_sampling(sampling: llm_pb2.Sampling) -> None:
    limits = {
        "temperature": (0.0, 2.0),
        "top_p": (0.0, 1.0),
        "frequency_penalty": (-2.0, 2.0),
        "presence_penalty": (-2.0, 2.0),
        "max_tokens": (1.0, 8_192.0),
    }
    for name, (low, high) in limits.items():
        if sampling.HasField(name):  # type: ignore[arg-type]
            validate.number(f"options.sampling.{name}", getattr(sampling, name), low, high)
    if sampling.HasField("top_p") and math.isclose(sampling.top_p, 0.0, abs_tol=1e-12):
        raise InvalidArgumentError("options.sampling.top_p", "must be above 0, to 1")
    if len(sampling.stop) > MAX_STOPS:
        raise InvalidArgumentError("options.sampling.stop", f"must have at most {MAX_STOPS} entries")
    for stop in sampling.stop:
        if not 1 <= len(stop) <= MAX_STOP_CHARS:
            raise InvalidArgumentError("options.sampling.stop", f"must have 1 to {MAX_STOP_CHARS} characters each")
