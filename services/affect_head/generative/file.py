"""What stands in the file of a `generative` head, and whether it can be served.

A trained head describes itself in `affect.*`, as an encoder does. Any other instruct model is served by its chat template, with a
calibration that says that there is none.
"""

from __future__ import annotations

from dataclasses import dataclass

from services.affect_head.generative.prompt_format import (
    PromptFormat,
    format_of_template,
)
from services.affect_head.gguf_fields import GgufFields
from services.affect_head.head import AXES, MAX_CONTEXT_TURNS, HeadIdentity
from services.affect_head.head_file import (
    SCHEMA_VERSION,
    SCHEMA_VERSION_WITH_WEIGHTS,
    confidence_weights_of,
    provenance_of,
    quantization_of,
)
from services.affect_head.normalizer import NORMALIZERS

KIND = "generative"

MAX_WINDOW = 512
"""Tokens of a message with its earlier turns, as for the encoder: on one core a model of this kind needs 3 to 30 ms for each."""
MAX_REASON_TOKENS = 64

_UNCALIBRATED = (1.0, 1.0, 1.0)
_USUAL_TOLERANCE = 0.25


@dataclass(frozen=True, slots=True)
class GenerativeFile:
    """What a head's file says.

    Attributes:
        identity: which head it is.
        words: the prompt format; None: it is made from the chat template.
        template: the chat template; empty where a trained head names its own words.
        sigma_scale: for each axis, the factor that makes the deviation match the errors on held-out data.
        confidence_tolerance: confidence is the probability that a reading is within this of what people would say.
        confidence_weights: for each axis five weights of a logistic rule (`confidence.ConfidenceRule`); none in files of version 1.
        context_turns: earlier turns that the head was trained with; 0: context is ignored.
        normalizer: name of the rule by which texts are written down before they are tokenized.
        reason_tokens: most tokens of a reason; 0: it gives none.
        trained_tokens: positions that the model was trained for.
        provenance_json: where the head comes from, a JSON object.
    """

    identity: HeadIdentity
    words: PromptFormat | None
    template: str
    sigma_scale: tuple[float, ...]
    confidence_tolerance: float
    confidence_weights: tuple[tuple[float, ...], ...]
    context_turns: int
    normalizer: str
    reason_tokens: int
    trained_tokens: int
    provenance_json: str

    def words_for(self, special_tokens: dict[str, str]) -> PromptFormat:
        """Return the head's own words, or those that its chat template gives.

        Raises:
            TemplateUnusableError: the template cannot be used.
        """
        return self.words or format_of_template(self.template, special_tokens)


def read_generative_file(fields: GgufFields) -> GenerativeFile:
    """Read and check a generative head's metadata.

    Raises:
        HeadFileError: the file cannot be served; the text says why.
    """
    trained_tokens = _check_model(fields)
    if "affect.schema_version" in fields:
        return _trained(fields, trained_tokens)
    return _untrained(fields, trained_tokens)


def _check_model(fields: GgufFields) -> int:
    architecture = fields.text("general.architecture")
    kind = fields.text("general.type") if "general.type" in fields else "model"
    if kind == "adapter" or f"{architecture}.context_length" not in fields:
        raise fields.refusal(
            f"{architecture}.context_length is missing: it holds an adapter only; merge it into its base and export the whole model"
        )
    if not fields.length("tokenizer.ggml.tokens"):
        raise fields.refusal("tokenizer.ggml.tokens is missing or empty")
    return fields.integer(f"{architecture}.context_length", 16, 1 << 30)


def _trained(fields: GgufFields, trained_tokens: int) -> GenerativeFile:
    version = fields.integer("affect.schema_version", 0, (1 << 32) - 1)
    if version not in (SCHEMA_VERSION, SCHEMA_VERSION_WITH_WEIGHTS):
        raise fields.refusal(f"affect.schema_version is {version}; this program knows 1 and 2")
    if (kind := fields.text("affect.kind")) != KIND:
        raise fields.refusal(f"affect.kind is {kind!r}; a language model can only be a {KIND!r} head")
    if (axes := fields.texts("affect.axes")) != AXES:
        raise fields.refusal(f"affect.axes is {', '.join(axes)}; it must be {', '.join(AXES)}")
    normalizer = fields.text("affect.normalizer")
    if normalizer not in NORMALIZERS:
        raise fields.refusal(f"affect.normalizer is {normalizer!r}; known: {', '.join(NORMALIZERS)}")
    return GenerativeFile(
        identity=HeadIdentity(
            fields.text("affect.head_id"), quantization_of(fields), fields.text("affect.calibration.version")
        ),
        words=_words(fields),
        template="",
        sigma_scale=fields.numbers("affect.calibration.sigma_scale", len(AXES), 1e-3, 1e3),
        confidence_tolerance=fields.positive("affect.calibration.confidence_tolerance"),
        confidence_weights=confidence_weights_of(fields, version),
        context_turns=fields.integer("affect.context_turns", 0, MAX_CONTEXT_TURNS),
        normalizer=normalizer,
        reason_tokens=fields.integer("affect.generative.reason_tokens", 0, MAX_REASON_TOKENS),
        trained_tokens=trained_tokens,
        provenance_json=provenance_of(fields),
    )


def _words(fields: GgufFields) -> PromptFormat:
    levels = fields.texts("affect.generative.levels")
    if len(levels) < 2:
        raise fields.refusal(f"affect.generative.levels has {len(levels)} entries; at least 2 are needed")
    questions = fields.texts("affect.generative.questions")
    if len(questions) != len(AXES):
        raise fields.refusal(f"affect.generative.questions has {len(questions)} entries; {len(AXES)} are needed")
    # What is empty does not stand in the file.
    parts = {
        name: fields.text(key)
        for name in ("opening", "turn_opening", "turn_closing", "text_opening", "closing", "reason")
        if (key := f"affect.generative.{name}") in fields
    }
    if "opening" not in parts:
        raise fields.refusal("affect.generative.opening is missing")
    return PromptFormat(**parts, questions=(questions[0], questions[1], questions[2]), levels=levels)


def _untrained(fields: GgufFields, trained_tokens: int) -> GenerativeFile:
    if "tokenizer.chat_template" not in fields:
        raise fields.refusal(
            "it is neither a trained head (affect.schema_version is missing) nor an instruct model (tokenizer.chat_template is missing)"
        )
    return GenerativeFile(
        identity=HeadIdentity(f"instruct:{fields.path.stem}", quantization_of(fields), "none"),
        words=None,
        template=fields.text("tokenizer.chat_template"),
        sigma_scale=_UNCALIBRATED,
        confidence_tolerance=_USUAL_TOLERANCE,
        confidence_weights=(),
        # Nothing shows that earlier turns help an untrained model, and the first system of this kind found that they dilute.
        context_turns=0,
        normalizer="one-line-v1",
        reason_tokens=MAX_REASON_TOKENS,
        trained_tokens=trained_tokens,
        provenance_json='{"trained": false}',
    )
