"""What an OpenAI-compatible server says: statuses, error objects and chunks, in the dialects of llama-server, Ollama and vLLM. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from services.living_llm.failures import (
    BadRequestFailure,
    Failure,
    InvalidFailure,
    OverloadedFailure,
    RejectedFailure,
    TransientFailure,
)
from services.living_llm.speech import Delta, Finished, FinishReason, Usage

# What can pass, by the design: the server was not ready or had a fault, and the next try may meet it in a better state.
TRANSIENT_STATUSES = frozenset({408, 425, 500, 502, 503, 504})

# The request itself is wrong, and wrong for everyone.
BAD_REQUEST_STATUSES = frozenset({400, 422})

DONE = "[DONE]"

_REASONS = {"length": FinishReason.LENGTH, "content_filter": FinishReason.FILTER}

# Error types that come without a number, by the status that they stand for.
_STATUS_OF_TYPE = {
    "invalid_request_error": 400,
    "exceed_context_size_error": 400,
    "authentication_error": 401,
    "permission_error": 403,
    "not_found_error": 404,
    "rate_limit_error": 429,
    "overloaded_error": 429,
    "insufficient_quota": 403,
}


def status_failure(status: int, error: Any, retry_after: float | None) -> Failure:
    """Classify a refusal.

    Args:
        status: the HTTP status, or the code of an error object inside a stream.
        error: what the body held under `error`: an object, a string, or anything else.
        retry_after: seconds that the server asked us to wait.
    """
    message, code = _told(error)
    if "loading model" in message:
        return TransientFailure("loading", "it is loading its model", retry_after=retry_after)
    if "insufficient_quota" in code:
        return RejectedFailure("quota", "the account's quota is used up")
    if status == 429 or (status == 503 and ("busy" in message or "maximum pending" in message or "slot" in message)):
        return OverloadedFailure(f"status_{status}", f"it has no room now (status {status})", retry_after=retry_after)
    if status in TRANSIENT_STATUSES:
        return TransientFailure(f"status_{status}", f"it failed (status {status})", retry_after=retry_after)
    if status in (401, 403):
        return RejectedFailure(f"status_{status}", f"it refused the key (status {status})")
    if status == 404:
        return RejectedFailure("status_404", "it does not know the model or the address (status 404)")
    if "exceed_context_size" in code or ("context" in message and "exceed" in message):
        return RejectedFailure("context_size", "the conversation is too long for it; set the upstream's context_tokens")
    if status in BAD_REQUEST_STATUSES:
        return BadRequestFailure(f"status_{status}", f"it does not take the request (status {status})")
    return RejectedFailure("status_other", f"it refused the request (status {status})")


def error_failure(error: Any) -> Failure:
    """Classify an error object that came with status 200: the server had begun, and failed."""
    number = error.get("code") if isinstance(error, dict) else None
    if not isinstance(number, int) or not 400 <= number <= 599:
        _, code = _told(error)
        number = next((status for name, status in _STATUS_OF_TYPE.items() if name in code), 500)
    return status_failure(number, error, None)


def retry_after_s(value: str | None, now: datetime) -> float | None:
    """Read a Retry-After header: seconds, or a date. None where it says nothing that can be used."""
    if value is None:
        return None
    if value.strip().isdigit():
        return float(value)
    try:
        moment = parsedate_to_datetime(value)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - now).total_seconds())


def parse_object(text: str | bytes) -> dict[str, Any] | None:
    """Return the JSON object in a text, or None if there is none."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


class ChunkReader:
    """Turns the payloads of a stream into deltas and, at its end, the finish.

    Attributes:
        model: the model's name as the server gives it; empty until it does.
        done: nothing follows that matters.
    """

    def __init__(self) -> None:
        self.model = ""
        self.done = False
        self._reason: FinishReason | None = None
        self._usage = Usage()
        self._half = ""

    def read(self, payload: str) -> Iterator[Delta]:
        """Take a payload and yield what it adds to the text.

        Raises:
            InvalidFailure: it is no chunk of the protocol.
            Failure: it is an error object; the failure says of which class.
        """
        if payload == DONE:
            self.done = True
            return
        chunk = parse_object(payload)
        if chunk is None:
            raise InvalidFailure("not_json", "it sent a chunk that is no JSON object")
        if chunk.get("error"):
            raise error_failure(chunk["error"])
        if isinstance(name := chunk.get("model"), str):
            self.model = name
        self._usage = _usage(chunk, self._usage)
        choices = chunk.get("choices")
        if not choices:
            return
        try:
            delta, reason = choices[0].get("delta") or {}, choices[0].get("finish_reason")
            content = delta.get("content")
        except (AttributeError, KeyError, TypeError, IndexError):
            raise _misshapen() from None
        if content is not None and not isinstance(content, str):
            raise _misshapen()
        if content and (text := self._whole(content)):
            yield Delta(text)
        if isinstance(reason, str):
            self._reason = _REASONS.get(reason, FinishReason.STOP)

    def finish(self) -> Finished | None:
        """Return the finish, now that the stream has ended; None if it ended without one, which means that it broke off."""
        if self._reason is None and not self.done:
            return None
        return Finished(self._reason or FinishReason.STOP, self._usage)

    def _whole(self, content: str) -> str:
        # JSON may spell a character above U+FFFF as two escapes, and a server may cut between them.
        text = self._half + content
        self._half = text[-1] if "\ud800" <= text[-1] <= "\udbff" else ""
        text = text[: len(text) - len(self._half)]
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def _told(error: Any) -> tuple[str, str]:
    """Return what an error says and what it is called, in lower case. For classifying only: it is never passed on."""
    if isinstance(error, dict):
        return str(error.get("message", "")).lower(), f"{error.get('type', '')} {error.get('code', '')}".lower()
    return (error.lower() if isinstance(error, str) else ""), ""


def _usage(chunk: dict[str, Any], known: Usage) -> Usage:
    usage = chunk.get("usage")
    if isinstance(usage, dict):
        details = usage.get("prompt_tokens_details")
        cached = details.get("cached_tokens") if isinstance(details, dict) else None
        known = Usage(
            _count(usage.get("prompt_tokens")),
            _count(cached) or known.cached_tokens,
            _count(usage.get("completion_tokens")),
        )
    # llama-server's own: `prompt_n` are the tokens that it had to compute.
    timings = chunk.get("timings")
    if isinstance(timings, dict) and (cached := _count(timings.get("cache_n"))):
        prompt = known.prompt_tokens or cached + _count(timings.get("prompt_n"))
        known = Usage(prompt, cached, known.completion_tokens or _count(timings.get("predicted_n")))
    return known


def _count(value: Any) -> int:
    return value if isinstance(value, int) and 0 <= value < 2**31 else 0


def _misshapen() -> InvalidFailure:
    return InvalidFailure("misshapen", "it sent a chunk that has not the protocol's form")
