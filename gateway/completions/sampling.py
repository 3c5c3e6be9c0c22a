"""Reads how a client wants its reply to be sampled. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gateway.completions.messages import UnsupportedError, checked_text
from gateway.requests import MAX_STOP_CHARS, MAX_STOPS
from limbic.llm.v1 import llm_pb2
from limbic.runtime import validate
from limbic.runtime.errors import InvalidArgumentError

MAX_TOKENS = 8_192
_LOWEST_TOP_P = 1e-6
"""0 means: always the likeliest word. The contract has no 0."""

_STYLE = {
    "temperature": (0.0, 2.0),
    "top_p": (0.0, 1.0),
    "frequency_penalty": (-2.0, 2.0),
    "presence_penalty": (-2.0, 2.0),
}


def sampling_of(body: Mapping[str, Any], *, client_wins: bool) -> llm_pb2.Sampling:
    """Return the sampling that a request wishes.

    Args:
        body: the request.
        client_wins: whether temperature, top_p and penalties are taken over; if not, they follow the character's state.

    Raises:
        InvalidArgumentError: a value is out of its range.
        UnsupportedError: something is wished that cannot be done.
    """
    _refuse_what_cannot_be_done(body)
    sampling = llm_pb2.Sampling(stop=_stops(body.get("stop")))
    for name, (low, high) in _STYLE.items():
        if (value := body.get(name)) is not None:
            number = validate.number(name, _number(name, value), low, high)
            if client_wins:
                setattr(sampling, name, max(number, _LOWEST_TOP_P) if name == "top_p" else number)
    # The newer name first.
    for name in ("max_completion_tokens", "max_tokens"):
        if (value := body.get(name)) is not None:
            if _whole(name, value) < 1:
                raise InvalidArgumentError(name, "must be at least 1")
            sampling.max_tokens = min(value, MAX_TOKENS)
            break
    seed = body.get("seed")
    # Front ends send -1 for a random one.
    if seed is not None and _whole("seed", seed) >= 0:
        sampling.seed = seed & 0xFFFFFFFF
    return sampling


def _refuse_what_cannot_be_done(body: Mapping[str, Any]) -> None:
    if (body.get("tools") or body.get("functions")) and body.get("tool_choice") != "none":
        raise UnsupportedError("tools", "the character does not support tools; leave them out")
    if body.get("n") not in (None, 1):
        raise UnsupportedError("n", "must be 1: a character gives one answer at a time; ask again for another one")
    wanted = body.get("response_format")
    if wanted is not None and (not isinstance(wanted, Mapping) or wanted.get("type") != "text"):
        raise UnsupportedError("response_format", "must be text")
    modalities = body.get("modalities")
    if modalities is not None and modalities != ["text"]:
        raise UnsupportedError("modalities", 'must be ["text"]')


def _stops(stop: Any) -> list[str]:
    stops = [stop] if isinstance(stop, str) else [] if stop is None else stop
    if not isinstance(stops, list) or not all(isinstance(one, str) for one in stops):
        raise InvalidArgumentError("stop", "must be a string or a list of strings")
    kept = [checked_text("stop", one) for one in stops if one]
    if len(kept) > MAX_STOPS or any(len(one) > MAX_STOP_CHARS for one in kept):
        raise InvalidArgumentError("stop", f"must be at most {MAX_STOPS} of at most {MAX_STOP_CHARS} characters each")
    return kept


def _number(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidArgumentError(name, "must be a number")
    try:
        return float(value)
    except OverflowError:
        raise InvalidArgumentError(name, "must be a number of a sensible size") from None


def _whole(name: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvalidArgumentError(name, "must be a whole number")
    return value
