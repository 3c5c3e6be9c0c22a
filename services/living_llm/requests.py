"""From the wire to plain values: every field checked, and named as in the proto where it is refused."""

from __future__ import annotations

from limbic.llm.v1 import llm_pb2
from limbic.runtime import validate
from limbic.runtime.errors import InvalidArgumentError
from limbic.state.v1 import state_pb2
from services.living_llm.expression import Band, Expression, Level, Mood, Wishes
from services.living_llm.expression_table import HORMONES, ExpressionTable
from services.living_llm.speech import Message, Role

MAX_MESSAGES = 4096
# A pasted chapter; what does not fit the model's window is refused later, with that reason.
MAX_MESSAGE_CHARS = 65_536
# The longest character cards in use hold some ten thousand characters.
MAX_PERSONA_CHARS = 65_536
MAX_MOODS = 32
MAX_STOPS = 8
MAX_STOP_CHARS = 128
MAX_TOKENS = 8192

_ROLES = {
    state_pb2.ROLE_UNSPECIFIED: Role.USER,
    state_pb2.ROLE_USER: Role.USER,
    state_pb2.ROLE_ASSISTANT: Role.ASSISTANT,
}
_BANDS = {
    # Not set: its value steers the sampling, and there are no words for it.
    state_pb2.BAND_UNSPECIFIED: Band.STEADY,
    state_pb2.BAND_CRASHING: Band.CRASHING,
    state_pb2.BAND_FADING: Band.FADING,
    state_pb2.BAND_STEADY: Band.STEADY,
    state_pb2.BAND_RISING: Band.RISING,
    state_pb2.BAND_SURGING: Band.SURGING,
}


def read_session_id(request: llm_pb2.GenerateRequest) -> str:
    """Check the session's id, which may be empty."""
    return validate.identifier("session_id", request.session_id) if request.session_id else ""


def read_persona(request: llm_pb2.GenerateRequest) -> str:
    """Check the persona, which may be empty."""
    return validate.optional_text("persona", request.persona, MAX_PERSONA_CHARS)


def read_messages(request: llm_pb2.GenerateRequest) -> tuple[Message, ...]:
    """Check the conversation: 1 to 4,096 messages, the last one the user's."""
    if not 1 <= len(request.messages) <= MAX_MESSAGES:
        raise InvalidArgumentError("messages", f"must hold 1 to {MAX_MESSAGES:,} messages")
    messages = tuple(_message(f"messages[{index}]", message) for index, message in enumerate(request.messages))
    if messages[-1].role is not Role.USER:
        raise InvalidArgumentError(
            f"messages[{len(messages) - 1}].role", "must be the user's: the last message is answered"
        )
    return messages


def read_expression(expression: llm_pb2.Expression, table: ExpressionTable) -> Expression:
    """Check levels, moods and style."""
    levels: dict[str, Level] = {}
    for index, level in enumerate(expression.levels):
        path = f"expression.levels[{index}]"
        if level.name not in HORMONES:
            raise InvalidArgumentError(f"{path}.name", f"must be one of {', '.join(HORMONES)}")
        if level.name in levels:
            raise InvalidArgumentError(f"{path}.name", "stands here twice")
        if level.band not in _BANDS:
            raise InvalidArgumentError(f"{path}.band", "is no band")
        value = validate.number(f"{path}.value", level.value, 0.0, 100.0)
        baseline = validate.number(f"{path}.baseline", level.baseline, 0.0, 100.0)
        levels[level.name] = Level(level.name, value, baseline, _BANDS[level.band])
    if len(expression.moods) > MAX_MOODS:
        raise InvalidArgumentError("expression.moods", f"must hold at most {MAX_MOODS}")
    moods = [_mood(f"expression.moods[{index}]", mood) for index, mood in enumerate(expression.moods)]
    if expression.style and expression.style not in table.styles:
        allowed = ", ".join(table.styles)
        raise InvalidArgumentError("expression.style", f"must be one of {allowed}, or empty", allowed=allowed)
    return Expression(tuple(levels.values()), tuple(moods), expression.style)


def read_wishes(sampling: llm_pb2.Sampling) -> Wishes:
    """Check the caller's own sampling."""
    if sampling.HasField("top_p") and not 0.0 < sampling.top_p <= 1.0:
        raise InvalidArgumentError("sampling.top_p", "must be a number above 0, to 1")
    if sampling.HasField("max_tokens") and not 1 <= sampling.max_tokens <= MAX_TOKENS:
        raise InvalidArgumentError("sampling.max_tokens", f"must be from 1 to {MAX_TOKENS:,}")
    if len(sampling.stop) > MAX_STOPS:
        raise InvalidArgumentError("sampling.stop", f"must hold at most {MAX_STOPS}")
    for index, stop in enumerate(sampling.stop):
        # White space is a sensible stop: a line's end.
        if not 1 <= len(stop) <= MAX_STOP_CHARS:
            raise InvalidArgumentError(f"sampling.stop[{index}]", f"must have 1 to {MAX_STOP_CHARS} characters")
    return Wishes(
        temperature=_number(sampling, "temperature", 0.0, 2.0),
        top_p=sampling.top_p if sampling.HasField("top_p") else None,
        frequency_penalty=_number(sampling, "frequency_penalty", -2.0, 2.0),
        presence_penalty=_number(sampling, "presence_penalty", -2.0, 2.0),
        max_tokens=sampling.max_tokens if sampling.HasField("max_tokens") else None,
        stop=tuple(sampling.stop),
        seed=sampling.seed if sampling.HasField("seed") else None,
    )


def _message(path: str, message: llm_pb2.Message) -> Message:
    if message.role not in _ROLES:
        raise InvalidArgumentError(f"{path}.role", "is no role")
    return Message(_ROLES[message.role], validate.text(f"{path}.text", message.text, MAX_MESSAGE_CHARS))


def _mood(path: str, mood: state_pb2.Mood) -> Mood:
    name = validate.identifier(f"{path}.name", mood.name)
    return Mood(name, validate.number(f"{path}.intensity", mood.intensity, -1.0, 1.0))


def _number(sampling: llm_pb2.Sampling, name: str, low: float, high: float) -> float | None:
    if not sampling.HasField(name):  # type: ignore[arg-type]
        return None
    return validate.number(f"sampling.{name}", getattr(sampling, name), low, high)
