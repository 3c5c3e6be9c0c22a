"""Puts what a turn sends into words: pure functions, the same for the terminal's panels and for plain lines."""

from __future__ import annotations

import unicodedata

import grpc

from limbic.affect.v1 import affect_pb2
from limbic.gateway.v1 import gateway_pb2
from limbic.llm.v1 import llm_pb2
from limbic.runtime.errors import RpcFailure
from limbic.state.v1 import state_pb2

EMOTIONS_SHOWN = 3

_STATUS = {
    gateway_pb2.AFFECT_STATUS_IN_WINDOW: "felt in time",
    gateway_pb2.AFFECT_STATUS_PENDING: "not read within the window; recorded when it comes",
    gateway_pb2.AFFECT_STATUS_LATE: "read late and recorded at the time of the words",
    gateway_pb2.AFFECT_STATUS_UNAVAILABLE: "not read: the head cannot be reached",
    gateway_pb2.AFFECT_STATUS_SHED: "not read: the head has no room",
    gateway_pb2.AFFECT_STATUS_FAILED: "not read: the head failed",
    gateway_pb2.AFFECT_STATUS_ALREADY_FELT: "felt before, under the same turn id",
}


def printable(text: str) -> str:
    """Return a model's words without control characters, which could rewrite the terminal; newlines and tabs stay."""
    return "".join(char for char in text if char in "\n\t" or unicodedata.category(char) != "Cc")


def band(level: state_pb2.Level) -> str:
    """Return a level's band as a word: crashing, fading, steady, rising or surging."""
    return state_pb2.Band.Name(level.band).removeprefix("BAND_").lower()


def mood(value: state_pb2.Mood) -> str:
    """Return a mood and its intensity; one that rounds to nothing has no sign."""
    shown = f"{value.intensity:+.2f}"
    return f"{value.name} {'0.00' if shown in ('+0.00', '-0.00') else shown}"


def levels(state: state_pb2.State) -> str:
    """Return a state's levels and moods on one line."""
    parts = [f"{level.name} {level.value:.0f} {band(level)}" for level in state.levels]
    parts += [mood(value) for value in state.moods]
    return " · ".join(parts)


def reading(value: affect_pb2.AffectReading) -> str:
    """Return a reading's axes, its confidence and its strongest active emotions."""
    axes = f"valence {value.valence:+.2f}, intimacy {value.intimacy:+.2f}, tension {value.tension:+.2f}"
    active = sorted((e for e in value.emotions if e.active), key=lambda e: -e.probability)[:EMOTIONS_SHOWN]
    emotions = ", ".join(f"{e.label} {e.probability:.2f}" for e in active)
    cut = "; its beginning did not fit" if value.truncated else ""
    return f"{axes}, confidence {value.confidence:.2f}{'; ' + emotions if emotions else ''}{cut}"


def affect(update: gateway_pb2.AffectUpdate) -> str:
    """Return what became of a turn's reading, and the reading if it came."""
    text = _STATUS.get(update.status, "not read")
    if update.HasField("lateness"):
        text += f", {update.lateness.ToNanoseconds() / 1e9:.2f} s after the window"
    if update.HasField("reading"):
        text += f": {reading(update.reading)}"
    elif update.reason:
        text += f" ({update.reason})"
    return text


def degraded(update: gateway_pb2.StateUpdate) -> str:
    """Return why a state is not the engine's own; empty if it is."""
    return f"degraded: {update.reason or 'the state engine did not answer in time'}" if update.degraded else ""


def ending(done: gateway_pb2.Done) -> str:
    """Return how a turn ended: why, its cost, who spoke, and when the first words came."""
    reason = llm_pb2.FinishReason.Name(done.finish_reason).removeprefix("FINISH_REASON_").lower()
    parts = [reason, f"{done.usage.completion_tokens} tokens", f"{done.trace.model} ({done.trace.upstream})"]
    for stage in done.trace.stages:
        if stage.name == "first_delta":
            after = (stage.start.ToNanoseconds() + stage.duration.ToNanoseconds()) / 1e9
            parts.append(f"first words after {after:.2f} s")
    parts += [f"degraded: {reason}" for reason in done.trace.degraded_reasons]
    return " · ".join(parts)


def failure(error: RpcFailure, who: str) -> str:
    """Return what went wrong with a call to `who`, and what to do."""
    if error.code is grpc.StatusCode.UNAVAILABLE and not error.reason:
        return f"No {who} answers. `make up` starts it; `make doctor` says what is wrong."
    if error.code is grpc.StatusCode.DEADLINE_EXCEEDED and not error.reason:
        what = (
            "The turn took longer than it may." if who.startswith("gateway") else f"The {who} did not answer in time."
        )
        return f"{what} `make doctor` says whether a part is not well."
    again = f" Try again in {error.retry_after:.0f} s." if error.retry_after else ""
    return f"{error.message} ({error.reason or error.code.name}).{again}"
