"""Writes a turn's events down as a chat completion, whole or in chunks. Pure."""

from __future__ import annotations

import json
from typing import Any

from gateway.completions.extension import Extension
from gateway.events import AffectKnown, DeltaText, LateAffect, StateKnown, TurnDone, TurnEvent
from limbic.llm.v1 import llm_pb2

DONE = "data: [DONE]\n\n"

_FINISH_REASONS = {
    llm_pb2.FINISH_REASON_LENGTH: "length",
    llm_pb2.FINISH_REASON_FILTER: "content_filter",
}


def event_text(fields: dict[str, Any]) -> str:
    """Return one server-sent event, as OpenAI's API sends it: without a name."""
    return f"data: {json.dumps(fields, ensure_ascii=False, separators=(',', ':'))}\n\n"


class Completion:
    """One completion, as it comes.

    Args:
        completion_id: names it; begins with `chatcmpl-`.
        created_s: whole seconds since the epoch.
        model: the name under which it was asked for.
        session_id: the conversation, as far as it is known before the turn is placed.
        includes_usage: whether chunks tell what the reply cost.
    """

    def __init__(
        self, completion_id: str, created_s: int, model: str, session_id: str, *, includes_usage: bool
    ) -> None:
        self._id = completion_id
        self._created_s = created_s
        self._model = model
        self._includes_usage = includes_usage
        self._texts: list[str] = []
        self._has_begun = False
        self.extension = Extension(session_id)

    def take(self, event: TurnEvent) -> None:
        """Take in an event without writing it down yet."""
        match event:
            case StateKnown():
                self.extension.state_known(event)
            case AffectKnown() | LateAffect():
                self.extension.affect_known(event)
            case DeltaText():
                self._texts.append(event.text)

    def whole(self, done: TurnDone) -> dict[str, Any]:
        """Return the completion as one object."""
        message = {"role": "assistant", "content": "".join(self._texts), "refusal": None}
        return {
            **self._head("chat.completion"),
            "choices": [
                {"index": 0, "message": message, "logprobs": None, "finish_reason": _finish_reason(done)},
            ],
            "usage": _usage(done.usage),
            "limbic": self.extension.final_fields(done.trace, done.reply_turn_id),
        }

    def chunks(self, event: TurnEvent) -> list[dict[str, Any]]:
        """Return an event as chunks: the first one brings the role and what is felt, the last one what the turn did."""
        self.take(event)
        match event:
            case DeltaText():
                return [*self._first(), self._chunk({"content": event.text})]
            case LateAffect():
                return [self._chunk({}, limbic=self.extension.fields())] if self._has_begun else []
            case TurnDone():
                limbic = self.extension.final_fields(event.trace, event.reply_turn_id)
                chunks = [*self._first(), self._chunk({}, finish_reason=_finish_reason(event), limbic=limbic)]
                if self._includes_usage:
                    usage = {"choices": [], "usage": _usage(event.usage)}
                    chunks.append({**self._head("chat.completion.chunk"), **usage})
                return chunks
        return []

    def _first(self) -> list[dict[str, Any]]:
        if self._has_begun:
            return []
        self._has_begun = True
        return [self._chunk({"role": "assistant", "content": "", "refusal": None}, limbic=self.extension.fields())]

    def _chunk(
        self, delta: dict[str, Any], *, finish_reason: str | None = None, limbic: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        chunk = {**self._head("chat.completion.chunk"), "choices": [choice]}
        if self._includes_usage:
            chunk["usage"] = None
        return chunk if limbic is None else {**chunk, "limbic": limbic}

    def _head(self, kind: str) -> dict[str, Any]:
        return {"id": self._id, "object": kind, "created": self._created_s, "model": self._model}


def _finish_reason(done: TurnDone) -> str:
    return _FINISH_REASONS.get(done.finish_reason, "stop")


def _usage(usage: llm_pb2.Usage) -> dict[str, Any]:
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens},
    }
