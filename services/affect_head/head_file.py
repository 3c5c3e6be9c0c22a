"""What stands in the file of an `encoder` head, and whether it can be served.

A head is one GGUF file of architecture `bert` that describes itself in `affect.*`. Two kinds of fault are refused here: what
would give wrong readings without a word (labels in disorder, another pooling), and what would end the process inside
llama.cpp (a special token outside the vocabulary, a tensor of a type that its kernels do not take). The third kind, tensors
that do not fit the stated sizes, llama.cpp itself refuses when it loads the file.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from gguf import LlamaFileType

from services.affect_head.gguf_fields import GgufFields
from services.affect_head.head import AXES, MAX_CONTEXT_TURNS, HeadIdentity
from services.affect_head.normalizer import NORMALIZERS
from services.affect_head.window import CLS_AND_SEP, ContextRule

SCHEMA_VERSION = 1
SCHEMA_VERSION_WITH_WEIGHTS = 2
"""A file of this version also brings `affect.calibration.confidence_weights`."""
MAX_WINDOW = 512
"""Tokens. Attention costs the square of it, and the base was never trained beyond."""

_POOLING_MEAN, _POOLING_RANK = 1, 4  # llama.h: enum llama_pooling_type

_SPECIAL_TOKENS = {
    "tokenizer.ggml.bos_token_id": 101,
    "tokenizer.ggml.unknown_token_id": 100,
    "tokenizer.ggml.seperator_token_id": 102,
    "tokenizer.ggml.padding_token_id": 0,
    "tokenizer.ggml.mask_token_id": 103,
}
"""Those that the tokenizer puts out or compares with, and what llama.cpp takes for a missing one. Its spelling."""

_FIXED_F32 = ("position_embd.weight", "token_types.weight", "token_embd_norm.weight")
_HEAD_TENSORS = ("cls.weight", "cls.bias", "cls.output.weight", "cls.output.bias")


@dataclass(frozen=True, slots=True)
class HeadFile:
    """What a head's file says.

    Attributes:
        identity: which head it is.
        outputs: names of the network's outputs in their order: `emotion.*`, `axis.*` and `log_variance.*`.
        emotions: labels in the order in which readings report them.
        thresholds: for each emotion, the probability from which it counts as active.
        axis_activation: how an axis's output becomes a reading in −1…1: `tanh`, or `clamp` for one that is linear.
        sigma_scale: for each axis, the factor that makes the predicted deviation match the errors on held-out data.
        confidence_tolerance: confidence is the probability that a reading is within this of what people would say.
        confidence_weights: for each axis five weights of a logistic rule (`confidence.ConfidenceRule`); none in files of version 1.
        context: when earlier turns are read as well.
        normalizer: name of the rule by which texts are written down before they are tokenized.
        window: tokens that are read at once.
        provenance_json: where the head comes from, a JSON object.
    """

    identity: HeadIdentity
    outputs: tuple[str, ...]
    emotions: tuple[str, ...]
    thresholds: tuple[float, ...]
    axis_activation: str
    sigma_scale: tuple[float, ...]
    confidence_tolerance: float
    confidence_weights: tuple[tuple[float, ...], ...]
    context: ContextRule
    normalizer: str
    window: int
    provenance_json: str


def read_head_file(path: Path) -> HeadFile:
    """Read and check a head's metadata. Takes some tenths of a second for a vocabulary of 30,000 words.

    Raises:
        HeadFileError: the file cannot be served; the text says why.
    """
    fields = GgufFields(path)
    window = _check_network(fields)
    _check_vocabulary(fields)
    _check_tensors(fields)
    return _read_affect(fields, window)


def _check_network(fields: GgufFields) -> int:
    if (architecture := fields.text("general.architecture")) != "bert":
        raise fields.refusal(f"its architecture is {architecture!r}; an encoder head has 'bert'")
    if "bert.context_length" not in fields:
        raise fields.refusal(
            "bert.context_length is missing: it holds an adapter only; merge it into its base and export the whole model"
        )
    context_length = fields.integer("bert.context_length", CLS_AND_SEP + 1, 1 << 20)
    fields.integer("bert.block_count", 1, 1024)
    width = fields.integer("bert.embedding_length", 1, 1 << 16)
    fields.integer("bert.feed_forward_length", 1, 1 << 20)
    heads = fields.integer("bert.attention.head_count", 1, width)
    if width % heads:
        raise fields.refusal(f"bert.embedding_length {width} is no multiple of bert.attention.head_count {heads}")
    fields.positive("bert.attention.layer_norm_epsilon")
    if fields.flag("bert.attention.causal"):
        raise fields.refusal("bert.attention.causal is true; an encoder sees both ways")
    if fields.integer("bert.pooling_type", 0, 4) != _POOLING_RANK:
        raise fields.refusal(f"bert.pooling_type is not {_POOLING_RANK} (RANK): its head would not be run")
    if fields.integer("bert.classifier.pooling_type", 0, 4) != _POOLING_MEAN:
        raise fields.refusal(
            f"bert.classifier.pooling_type is not {_POOLING_MEAN} (MEAN): the head was trained on the mean"
        )
    return min(context_length, MAX_WINDOW)


def _check_vocabulary(fields: GgufFields) -> None:
    if (kind := fields.text("tokenizer.ggml.model")) != "bert":
        raise fields.refusal(f"tokenizer.ggml.model is {kind!r}; an encoder head has 'bert'")
    size = fields.length("tokenizer.ggml.tokens")
    if size == 0:
        raise fields.refusal("tokenizer.ggml.tokens is missing or empty")
    if fields.length("tokenizer.ggml.token_type") != size:
        raise fields.refusal("tokenizer.ggml.token_type must have one entry for each of tokenizer.ggml.tokens")
    fields.integer("tokenizer.ggml.token_type_count", 1, 1 << 16)
    for key, default in _SPECIAL_TOKENS.items():
        number = fields.integer(key, 0, (1 << 32) - 1, default=default)
        if number >= size:
            raise fields.refusal(f"{key} is {number}, but the vocabulary has {size} tokens")


def _check_tensors(fields: GgufFields) -> None:
    for name in _HEAD_TENSORS:
        if name not in fields.tensors:
            raise fields.refusal(f"the tensor {name} is missing: it has no classification head")
    for name, (kind, shape) in fields.tensors.items():
        # llama.cpp's kernels abort on these in another type.
        must_be_f32 = name in _FIXED_F32 or name.endswith(("_norm.weight", ".bias")) or len(shape) == 1
        if must_be_f32 and kind != "F32":
            raise fields.refusal(f"the tensor {name} is {kind}; it must be F32")


def _read_affect(fields: GgufFields, window: int) -> HeadFile:
    version = fields.integer("affect.schema_version", 0, (1 << 32) - 1)
    if version not in (SCHEMA_VERSION, SCHEMA_VERSION_WITH_WEIGHTS):
        raise fields.refusal(f"affect.schema_version is {version}; this program knows 1 and 2")
    emotions = fields.texts("affect.emotions")
    if (axes := fields.texts("affect.axes")) != AXES:
        raise fields.refusal(f"affect.axes is {', '.join(axes)}; it must be {', '.join(AXES)}")
    outputs = fields.texts("bert.classifier.output_labels")
    expected = {f"emotion.{label}" for label in emotions}
    expected |= {f"{kind}.{axis}" for kind in ("axis", "log_variance") for axis in AXES}
    if different := expected.symmetric_difference(outputs):
        raise fields.refusal(
            f"bert.classifier.output_labels and affect.emotions do not agree on {', '.join(sorted(different))}"
        )
    activation = fields.text("affect.axis_activation")
    if activation not in ("clamp", "tanh"):
        raise fields.refusal(f"affect.axis_activation is {activation!r}; 'clamp' and 'tanh' are known")
    normalizer = fields.text("affect.normalizer")
    if normalizer not in NORMALIZERS:
        raise fields.refusal(f"affect.normalizer is {normalizer!r}; known: {', '.join(NORMALIZERS)}")
    return HeadFile(
        identity=HeadIdentity(
            fields.text("affect.head_id"), quantization_of(fields), fields.text("affect.calibration.version")
        ),
        outputs=outputs,
        emotions=emotions,
        thresholds=fields.numbers("affect.emotion_thresholds", len(emotions), 0.0, 1.0),
        axis_activation=activation,
        sigma_scale=fields.numbers("affect.calibration.sigma_scale", len(AXES), 1e-3, 1e3),
        confidence_tolerance=fields.positive("affect.calibration.confidence_tolerance"),
        confidence_weights=confidence_weights_of(fields, version),
        context=_context_rule(fields, window),
        normalizer=normalizer,
        window=window,
        provenance_json=provenance_of(fields),
    )


def _context_rule(fields: GgufFields, window: int) -> ContextRule:
    """Return when earlier turns are read. A file that gives no lengths sets no bounds but the window's."""
    return ContextRule(
        turns=fields.integer("affect.context_turns", 0, MAX_CONTEXT_TURNS),
        text_tokens=fields.integer("affect.context_text_tokens", 1, MAX_WINDOW, default=window),
        turn_tokens=fields.integer("affect.context_turn_tokens", 1, MAX_WINDOW, default=window),
    )


def confidence_weights_of(fields: GgufFields, version: int) -> tuple[tuple[float, ...], ...]:
    """Return for each axis the weights of the logistic rule (`confidence.ConfidenceRule`); none in files of version 1."""
    if version != SCHEMA_VERSION_WITH_WEIGHTS:
        return ()
    each = 2 + len(AXES)
    flat = fields.numbers("affect.calibration.confidence_weights", each * len(AXES), -1e3, 1e3)
    return tuple(flat[at : at + each] for at in range(0, len(flat), each))


def quantization_of(fields: GgufFields) -> str:
    """Return the quantization's name, e.g. `Q4_0`: the file's own, where it mixes types, or llama.cpp's for the whole."""
    if "affect.quantization" in fields:
        return fields.text("affect.quantization")
    number = fields.integer("general.file_type", 0, (1 << 32) - 1)
    try:
        name = str(LlamaFileType(number).name)
    except ValueError:
        raise fields.refusal(f"general.file_type is {number}, which names no quantization") from None
    return name.removeprefix("ALL_").removeprefix("MOSTLY_")


def provenance_of(fields: GgufFields) -> str:
    """Return where the head comes from, a JSON object."""
    text = fields.text("affect.provenance")
    try:
        value = json.loads(text)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise fields.refusal("affect.provenance is no JSON object")
    return text
