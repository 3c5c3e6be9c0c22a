"""Rows to batches of trees: each row is its opening and message once, and behind them three questions that do not see each other.

That is the very layout in which the served head computes a reading (`services.affect_head.generative.context`), so what is trained is what
will be asked, and a row costs little more than its message.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import llama_cpp
import numpy as np
import torch

from limbic.runtime.llama import LlamaError, load_model
from services.affect_head.generative.prompt import Prompt, PromptUnusableError
from services.affect_head.generative.prompt_format import PromptFormat
from services.affect_head.generative.vocabulary import Vocabulary
from training.batches import like_lengths
from training.errors import ModelError
from training.outputs import AXES
from training.rows import Row

_POOL_BATCHES = 20
"""Texts are sorted by length within this many batches' worth: little padding, and an order that is still random."""


@dataclass(frozen=True, slots=True)
class PromptTokens:
    """A prompt's fixed parts in a model's tokens."""

    opening: tuple[int, ...]
    questions: tuple[tuple[int, ...], ...]
    levels: tuple[int, ...]
    """The id of each level's digit, lowest first."""


@dataclass(frozen=True, slots=True)
class TreeBatch:
    """One step's tensors, rows first. A target that a row does not carry is NaN."""

    ids: torch.Tensor
    """Token ids, padded with 0; int64 [rows, tokens]."""
    positions: torch.Tensor
    """Each token's place in its own branch; int64 [rows, tokens]."""
    visible: torch.Tensor
    """Whether a token sees another; bool [rows, tokens, tokens]."""
    ends: torch.Tensor
    """The last token of each question; int64 [rows, 3]."""
    axes: torch.Tensor
    """-1 to 1; float32 [rows, 3]."""


class TreeTable:
    """All rows of a split, tokenized once by the tokenizer that will serve."""

    def __init__(self, rows: Sequence[Row], prompt: PromptTokens, messages: list[list[int]]) -> None:
        """Take rows and their messages' ids, as `tokenized` returns them."""
        self.rows = list(rows)
        self.prompt = prompt
        self.messages = messages
        self.lengths = np.array([len(ids) for ids in messages])
        targets = [[getattr(row, axis) for axis in AXES] for row in rows]
        self.axes = np.array(targets, dtype=np.float32).reshape(len(rows), len(AXES))

    def batch(self, chosen: np.ndarray) -> TreeBatch:
        """Return the rows with the given indexes as one padded batch."""
        opening, questions = self.prompt.opening, self.prompt.questions
        asked = sum(map(len, questions))
        width = len(opening) + int(self.lengths[chosen].max()) + asked
        count = len(chosen)
        ids = np.zeros((count, width), dtype=np.int64)
        positions = np.zeros((count, width), dtype=np.int64)
        # Padding sees itself, so that no row of the attention is empty.
        visible = np.tile(np.eye(width, dtype=bool), (count, 1, 1))
        ends = np.zeros((count, len(questions)), dtype=np.int64)
        for place, index in enumerate(chosen):
            trunk = [*opening, *self.messages[index]]
            stem = len(trunk)
            ids[place, :stem], positions[place, :stem] = trunk, np.arange(stem)
            visible[place, :stem, :stem] = np.tri(stem, dtype=bool)
            at = stem
            for axis, question in enumerate(questions):
                behind = at + len(question)
                ids[place, at:behind], positions[place, at:behind] = question, stem + np.arange(len(question))
                visible[place, at:behind, :stem] = True
                visible[place, at:behind, at:behind] = np.tri(len(question), dtype=bool)
                ends[place, axis] = behind - 1
                at = behind
        return TreeBatch(*map(torch.from_numpy, (ids, positions, visible, ends, self.axes[chosen])))


def tokenized(path: Path, rows: Sequence[Row], words: PromptFormat, max_tokens: int) -> TreeTable:
    """Tokenize rows as the GGUF at `path` will when it is served.

    Raises:
        ModelError: llama.cpp cannot load it, or its vocabulary cannot write the prompt.
    """
    try:
        model = load_model(path)
    except LlamaError as error:
        raise ModelError(str(error)) from error
    try:
        prompt = Prompt(words, Vocabulary(model), window=max_tokens)
        messages = [prompt.lay_out(row.text, ()).ids for row in rows]
    except PromptUnusableError as error:
        raise ModelError(f"{path} cannot be trained: {error}.") from error
    finally:
        llama_cpp.llama_model_free(model)
    return TreeTable(rows, PromptTokens(prompt.opening, prompt.questions, prompt.levels), messages)


def epoch_batches(table: TreeTable, rows: int, seed: int, epoch: int) -> list[np.ndarray]:
    """Return the epoch's batches as index arrays; every row comes once."""
    random = np.random.default_rng([seed, epoch])
    return like_lengths(random.permutation(len(table.rows)), table.lengths, rows, _POOL_BATCHES, random)


def chosen_rows(rows: Sequence[Row], limits: dict[str, int], seed: int) -> list[Row]:
    """Draw at most so many rows of each source among those that carry an axis; equal seeds draw the same ones."""
    random = np.random.default_rng([seed, 0])
    chosen: list[Row] = []
    for source in sorted(limits):
        members = [row for row in rows if row.source == source and any(getattr(row, axis) is not None for axis in AXES)]
        picked = sorted(random.permutation(len(members))[: limits[source]].tolist())
        chosen += [members[index] for index in picked]
    return chosen
