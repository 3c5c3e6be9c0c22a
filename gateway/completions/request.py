"""Reads a request for a chat completion. Pure."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gateway.completions.messages import Script, checked_text, joined, script_of
from gateway.completions.sampling import sampling_of
from gateway.content import conversation_session, named_session
from gateway.events import Dialogue, TurnInput
from gateway.requests import trace_id_of
from limbic.runtime import validate
from limbic.runtime.errors import InvalidArgumentError
from limbic.state.v1 import state_pb2

MAX_BODY_BYTES = 2 * 1024 * 1024
"""Half of what a message between services may have: a novel's worth of history."""

MODEL = "limbic"
MAX_NAME_CHARS = 512

SESSION_HEADER = "x-limbic-session"
CHAT_HEADER = "x-openwebui-chat-id"
"""Open WebUI sends it if ENABLE_FORWARD_USER_INFO_HEADERS is set."""

_GO_ON = "(Go on from where you stopped, without repeating anything.)"
"""What the model is asked for where a client sends a conversation that ends with the character's own words, and nothing else."""

_TASK = "### Task:"
"""How Open WebUI begins what it asks of a model for itself: a title, tags, follow-up questions. Nobody says that to the character."""


@dataclass(frozen=True, slots=True)
class TurnDefaults:
    """What a request does not say.

    Attributes:
        persona: who the character is, where the client describes none.
        window_s: the affect window, in seconds.
        deadline_at: moment of the monotonic clock by which the turn must have ended.
        client_wins: whether the client's temperature, top_p and penalties count, or those that follow the state.
    """

    persona: str
    window_s: float
    deadline_at: float
    client_wins: bool


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """A request that was checked.

    Attributes:
        turn: what is to be run; it is still to be placed.
        model: the name under which the client asks for the character; it is given back.
        streams: whether the reply is wanted piece by piece.
        includes_usage: whether such a stream ends with what it cost.
    """

    turn: TurnInput
    model: str
    streams: bool
    includes_usage: bool


def chat_request(body: Mapping[str, Any], headers: Mapping[str, str], defaults: TurnDefaults) -> ChatRequest:
    """Read a request.

    Args:
        body: the JSON object. Fields that are not known are passed over: front ends send many.
        headers: with names in lower case.
        defaults: for what it does not say.

    Raises:
        InvalidArgumentError: a field cannot be used. Its name is the one in the body.
    """
    model = body.get("model", MODEL)
    if not isinstance(model, str) or len(model) > MAX_NAME_CHARS:
        raise InvalidArgumentError("model", f"must be a string of at most {MAX_NAME_CHARS} characters")
    checked_text("model", model)
    options = body.get("stream_options")
    streams = _flag("stream", body.get("stream"))
    sampling = sampling_of(body, client_wins=defaults.client_wins)
    script = script_of(body.get("messages"))
    caller = _caller(headers.get("authorization", ""))
    persona, instruction, dialogue = _parts(script, defaults.persona, caller, streams=streams)
    session_id, is_named = _session(body.get("user"), headers, caller, dialogue)
    turn = TurnInput(
        session_id=session_id,
        session_is_new=False,
        turn_id="",
        parent_turn_id=None,
        text=instruction if dialogue.words is None else dialogue.words.text,
        persona=persona,
        affect_window_s=defaults.window_s,
        sampling=sampling,
        style="",
        temperament="",
        attempt_id=secrets.token_hex(4),
        trace_id=trace_id_of(headers.items()),
        deadline_at=defaults.deadline_at,
        dialogue=Dialogue(dialogue.history, dialogue.words, dialogue.feels, caller, is_named),
    )
    includes_usage = isinstance(options, Mapping) and _flag(
        "stream_options.include_usage", options.get("include_usage")
    )
    return ChatRequest(turn, model, streams, includes_usage)


def _parts(script: Script, persona: str, caller: str, *, streams: bool) -> tuple[str, str, Dialogue]:
    """Return the persona, what the model is asked for if nobody says anything, and the conversation."""
    said = script.dialogue
    if len(said) == 1 and not streams and said[0].text.startswith(_TASK):
        task = said[0].text
        return joined((*script.notes, *script.after)), task, Dialogue((), None, False, caller, False)
    if said and said[-1].role == state_pb2.ROLE_USER:
        notes = joined((*script.notes, *script.after))
        return notes or persona, "", Dialogue(said[:-1], said[-1], True, caller, False)
    feels = bool(said)
    return joined(script.notes), joined(script.after) or _GO_ON, Dialogue(said, None, feels, caller, False)


def _session(user: Any, headers: Mapping[str, str], caller: str, dialogue: Dialogue) -> tuple[str, bool]:
    """Return the session's id, and whether the client named it."""
    if (named := headers.get(SESSION_HEADER)) is not None:
        try:
            return validate.identifier("session", named), True
        except InvalidArgumentError as error:
            raise InvalidArgumentError("X-Limbic-Session", error.description) from None
    if chat := headers.get(CHAT_HEADER):
        return named_session("chat", caller, "openwebui", chat), True
    # Open WebUI sends an object to what it takes for a pipeline.
    name = user.get("id") if isinstance(user, Mapping) else user
    if name is not None and (not isinstance(name, str) or len(name) > MAX_NAME_CHARS):
        raise InvalidArgumentError("user", f"must be a string of at most {MAX_NAME_CHARS} characters")
    if name:
        # A person's name does not belong into logs.
        return named_session("user", caller, checked_text("user", name)), True
    words = [dialogue.words] if dialogue.words is not None else []
    return conversation_session(caller, [*dialogue.history, *words]), False


def _caller(authorization: str) -> str:
    """Return what tells callers apart: the hash of their key; empty without one."""
    key = authorization.partition(" ")[2].strip()
    return hashlib.blake2b(key.encode(), digest_size=12, person=b"limbic-caller").hexdigest() if key else ""


def _flag(name: str, value: Any) -> bool:
    if value is None or isinstance(value, bool):
        return bool(value)
    raise InvalidArgumentError(name, "must be true or false")
