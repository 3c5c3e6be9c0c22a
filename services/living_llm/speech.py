"""What is asked of an upstream and what it answers: plain values, shared by all parts of this service."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Role(StrEnum):
    """Who said a message, under the names of the OpenAI protocol."""

    USER = "user"
    ASSISTANT = "assistant"


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a conversation."""

    role: Role
    text: str


@dataclass(frozen=True, slots=True)
class Sampling:
    """Sampling parameters that are in force.

    Attributes:
        temperature: 0 to 2; 0 takes the likeliest token.
        top_p: above 0, to 1.
        frequency_penalty: -2 to 2.
        presence_penalty: -2 to 2.
        max_tokens: 1 to 8,192; a ceiling, never a floor.
        stop: the reply ends where one of these would begin.
        seed: makes an embedded model's choices repeatable; None for another reply each time.
    """

    temperature: float
    top_p: float
    frequency_penalty: float
    presence_penalty: float
    max_tokens: int
    stop: tuple[str, ...] = ()
    seed: int | None = None


@dataclass(frozen=True, slots=True)
class Speech:
    """One reply to generate.

    Attributes:
        session_id: names the conversation; may be empty.
        persona: who the character is; may be empty.
        messages: oldest first; the last one is the user's and is the one to answer.
        state: how to speak, in our own words; empty where there is nothing to say.
        sampling: the parameters in force.
        steering: strengths of control vectors by axis, for models in this process; not 0.
    """

    session_id: str
    persona: str
    messages: tuple[Message, ...]
    state: str
    sampling: Sampling
    steering: tuple[tuple[str, float], ...] = ()


class FinishReason(StrEnum):
    """Why a reply ended."""

    STOP = "stop"
    LENGTH = "length"
    FILTER = "content_filter"


@dataclass(frozen=True, slots=True)
class Usage:
    """What a reply cost in tokens; 0 where the upstream does not say. `cached_tokens` are a part of `prompt_tokens`."""

    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Started:
    """An upstream, by its configured name, has taken the request. `omitted_messages` did not fit its model's window."""

    upstream: str
    model: str
    omitted_messages: int


@dataclass(frozen=True, slots=True)
class Delta:
    """More of the text: whole characters, not empty."""

    text: str


@dataclass(frozen=True, slots=True)
class Finished:
    """The reply is complete."""

    reason: FinishReason
    usage: Usage


UpstreamEvent = Started | Delta | Finished
"""The order is: Started, Delta…, Finished."""
