"""What a head is, whatever computes it: an utterance goes in, a reading comes out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from limbic.runtime.llama import AbortFlag
from services.affect_head.window import ContextRule

AXES = ("valence", "intimacy", "tension")
"""The three independent axes, in the order in which every array of axes stands."""

MAX_CONTEXT_TURNS = 2
"""Earlier turns that a request may bring."""


@dataclass(frozen=True, slots=True)
class Axes:
    """One number for each axis: a reading in −1…1, a standard deviation or a contribution in the same unit."""

    valence: float
    intimacy: float
    tension: float


@dataclass(frozen=True, slots=True)
class Emotion:
    """One emotion of a reading: its probability, and whether that reaches the label's own threshold."""

    label: str
    probability: float
    active: bool


@dataclass(frozen=True, slots=True)
class HeadIdentity:
    """Which head made a reading.

    Attributes:
        id: name and version, e.g. `minilm-v1`.
        quantization: of its weights, e.g. `Q4_0`.
        calibration: version of its calibration.
    """

    id: str
    quantization: str
    calibration: str


@dataclass(frozen=True, slots=True)
class HeadCard:
    """What a head says about itself.

    Attributes:
        identity: which head it is.
        sha256: of the model file, lower-case hexadecimal.
        emotions: labels in the order in which readings report them.
        thresholds: for each emotion, the probability from which it counts as active.
        context: when it reads earlier turns as well.
        context_tokens: tokens that it can take at once.
        provenance_json: training data, recipe, hashes and measured quality, a JSON object.
    """

    identity: HeadIdentity
    sha256: str
    emotions: tuple[str, ...]
    thresholds: tuple[float, ...]
    context: ContextRule
    context_tokens: int
    provenance_json: str


@dataclass(frozen=True, slots=True)
class Utterance:
    """The words to judge, and earlier turns that help to understand them, oldest first.

    A head that can says why in its own words, if that is wanted; it takes longer.
    """

    text: str
    context: tuple[str, ...] = ()
    wants_reason: bool = False


@dataclass(frozen=True, slots=True)
class Reading:
    """How an utterance lands.

    Attributes:
        axes: the reading, each in −1…1.
        uncertainty: one standard deviation of each axis, positive.
        confidence: 0…1, the probability that the reading is within the head's tolerance of what people would say,
            averaged over the axes.
        emotions: in the head's own order.
        truncated: the text did not fit the window and its beginning was left out.
        blank: nothing of the text reached the model, because it holds no character that the head knows; the reading is
            that of no words at all.
        context_turns: earlier turns that were read beside the words.
        latency_s: seconds that the computation took, without the reason's.
        reasoning: why, in the head's own words; empty where none were wanted, or the head has none.
    """

    axes: Axes
    uncertainty: Axes
    confidence: float
    emotions: tuple[Emotion, ...]
    truncated: bool
    blank: bool
    context_turns: int
    latency_s: float
    reasoning: str = ""


class ReadingAbortedError(Exception):
    """A reading was stopped through its abort flag. The reader can be used again."""


class Reader(Protocol):
    """Reads one utterance at a time, for one thread at a time."""

    def read(self, utterance: Utterance, abort: AbortFlag) -> Reading:
        """Read an utterance. Blocks for as long as that takes.

        Raises:
            ReadingAbortedError: the flag was set before it was done.
        """
        ...

    def close(self) -> None:
        """Free what the reader holds. Not while it reads."""
        ...


class Head(Protocol):
    """A loaded model, from which each worker gets a reader of its own."""

    @property
    def card(self) -> HeadCard:
        """What the head says about itself."""
        ...

    def open_reader(self) -> Reader:
        """Make a reader that shares the model with the others. Same words, same reading, to the last bit."""
        ...

    def close(self) -> None:
        """Free the model. Its readers must be closed before."""
        ...
