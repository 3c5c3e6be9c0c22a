"""What the head puts out, in which order: the one place where labels and axes are named.

The network's last layer has `TRAINED` rows. The first `EXPORTED` of them are the served head; the rest are auxiliary
targets that shape the encoder during training and are dropped at export.
"""

from __future__ import annotations

EMOTIONS: tuple[str, ...] = (
    "admiration", "amusement", "anger", "annoyance", "approval", "caring", "confusion", "curiosity", "desire",
    "disappointment", "disapproval", "disgust", "embarrassment", "excitement", "fear", "gratitude", "grief", "joy",
    "love", "nervousness", "optimism", "pride", "realization", "relief", "remorse", "sadness", "surprise", "neutral",
)  # fmt: skip
"""The 28 GoEmotions labels in the order of the data set's `labels.txt`."""

AXES: tuple[str, ...] = ("valence", "intimacy", "tension")
"""The three independent axes, each read as tanh of its output, so -1 to 1."""

XED_LABELS: tuple[str, ...] = (
    "neutral", "anger", "anticipation", "disgust", "fear", "joy", "sadness", "surprise", "trust",
)  # fmt: skip
"""XED's nine labels: an auxiliary target that keeps the encoder close to spoken dialogue."""

AUXILIARY_AXES: tuple[str, ...] = ("arousal", "dominance")
"""EmoBank's other two dimensions: auxiliary targets, never served."""

AXIS_ACTIVATION = "tanh"
"""How a raw axis output becomes a reading. Smooth, so a saturated reading still answers when a word is left out."""

EXPORTED_NAMES: tuple[str, ...] = (
    *(f"emotion.{label}" for label in EMOTIONS),
    *(f"axis.{axis}" for axis in AXES),
    *(f"log_variance.{axis}" for axis in AXES),
)
"""Names of the served outputs, in the order of the GGUF's `bert.classifier.output_labels`."""

EXPORTED = len(EXPORTED_NAMES)
TRAINED = EXPORTED + len(XED_LABELS) + len(AUXILIARY_AXES)

EMOTION_COLUMNS = slice(0, 28)
AXIS_COLUMNS = slice(28, 31)
LOG_VARIANCE_COLUMNS = slice(31, 34)
XED_COLUMNS = slice(34, 43)
AUXILIARY_COLUMNS = slice(43, 45)
