"""Whether earlier turns help: minimal pairs, the same words after a different turn, read with and without it.

`training/probes/context/pairs.jsonl` holds two lines a pair: `pair`, `kind`, `context` (earlier turns, oldest first),
`text` and the three axes as the words land after that turn.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from services.affect_head.window import ContextRule, fit
from training.errors import DataError
from training.outputs import AXES, AXIS_COLUMNS
from training.rows import Row
from training.runner import GgufRunner
from training.text import to_ascii

PAIRS_FILE = Path(__file__).parent / "probes" / "context" / "pairs.jsonl"

CONTEXT_RULE = ContextRule(turns=1, text_tokens=4, turn_tokens=24)
"""What a head is given when it is calibrated. It learned from single utterances, so a turn is read as more of the same
text: that tells "okay." after an apology from "okay." after an insult, and blurs words that speak for themselves."""

TELLING_DIFFERENCE = 0.4
"""A pair takes part in an axis's count when its labels differ by at least this much."""


@dataclass(frozen=True, slots=True)
class ContextRow:
    """One half of a pair."""

    pair: str
    kind: str
    context: tuple[str, ...]
    """Earlier turns, oldest first."""
    text: str
    axes: tuple[float, float, float]
    """Valence, intimacy and tension of the words as they land after the context."""


def read_pairs(path: Path = PAIRS_FILE) -> list[tuple[ContextRow, ContextRow]]:
    """Read the pairs in the order of the file.

    Raises:
        DataError: if a line does not read as half a pair, or a pair is not twice the same words after two contexts.
    """
    halves: dict[str, list[ContextRow]] = {}
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise DataError(f"The context pairs cannot be read: {error}.") from error
    for number, line in enumerate(lines, 1):
        try:
            values = json.loads(line)
            axes = [float(values[axis]) for axis in AXES]
            if not all(-1 <= value <= 1 for value in axes):
                raise ValueError("an axis outside -1 to 1")
            row = ContextRow(
                str(values["pair"]), str(values["kind"]), tuple(map(str, values["context"])), str(values["text"]),
                (axes[0], axes[1], axes[2]),
            )  # fmt: skip
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"{path.name}, line {number} is not half a context pair: {error}.") from error
        halves.setdefault(row.pair, []).append(row)
    pairs = []
    for name, rows in halves.items():
        if len(rows) != 2 or rows[0].text != rows[1].text or rows[0].context == rows[1].context:
            raise DataError(f"{path.name}: pair {name} is not the same words after two different turns.")
        pairs.append((rows[0], rows[1]))
    return pairs


def read_with_context(
    runner: GgufRunner, text: str, turns: Sequence[str], rule: ContextRule
) -> tuple[NDArray[np.float64], int]:
    """Return the axis readings, [3], of a text after earlier turns, and how many of them were read.

    Chosen and packed as the server does it.
    """

    def tokenize(said: str) -> list[int]:
        return runner.tokenize(to_ascii(said))[1:-1]

    cls, sep = runner.tokenize("")
    words = tokenize(text)
    ids, _, count = fit(words, rule.choose(words, turns, tokenize), window=runner.max_tokens, cls=cls, sep=sep)
    return np.tanh(runner.outputs(ids)[AXIS_COLUMNS].astype(np.float64)), count


def score_context(
    runner: GgufRunner, pairs: Sequence[tuple[ContextRow, ContextRow]], rule: ContextRule
) -> dict[str, float]:
    """Return what the context does to the readings of those pairs that the rule reads with a turn, by name.

    `AXIS_right` is the share of the telling pairs whose two readings differ in the labels' direction; without context
    they cannot differ, so a coin's 0.5 is what it has to beat. `AXIS_mae` and `AXIS_mae_without` are the mean distances
    from the labels with the context and without. `pairs_read` of the `pairs` have a turn that is read in one half at
    least; the rest read as they would alone, and tell nothing.
    """
    result: dict[str, float] = {"pairs": float(len(pairs))}
    read = [[read_with_context(runner, row.text, row.context, rule) for row in pair] for pair in pairs]
    used = [index for index, halves in enumerate(read) if any(count for _, count in halves)]
    result["pairs_read"] = float(len(used))
    if not used:
        return result
    labels = np.array([[row.axes for row in pairs[index]] for index in used])
    with_turns = np.array([[axes for axes, _ in read[index]] for index in used])
    without = np.array([[read_with_context(runner, row.text, (), rule)[0] for row in pairs[index]] for index in used])
    wanted, found = labels[:, 0] - labels[:, 1], with_turns[:, 0] - with_turns[:, 1]
    for axis, name in enumerate(AXES):
        telling = np.abs(wanted[:, axis]) >= TELLING_DIFFERENCE
        agree = np.sign(found[telling, axis]) == np.sign(wanted[telling, axis])
        result[f"{name}_telling"] = float(telling.sum())
        result[f"{name}_right"] = float(agree.mean()) if telling.any() else float("nan")
        result[f"{name}_mae"] = float(np.abs(with_turns - labels)[..., axis].mean())
        result[f"{name}_mae_without"] = float(np.abs(without - labels)[..., axis].mean())
    return result


def score_unrelated(
    runner: GgufRunner, rows: Sequence[Row], turns: Sequence[str], rule: ContextRule
) -> dict[str, float]:
    """Return what an earlier turn that has nothing to do with them does to those rows that the rule reads with it, by name.

    Args:
        runner: the head.
        rows: with any axis.
        turns: lines to draw from; which one comes before a row is decided by the row's key.
        rule: when a turn is read.
    """
    kept: list[tuple[Row, NDArray[np.float64]]] = []
    for row in rows:
        after, count = read_with_context(runner, row.text, (turns[int(row.key or "0", 16) % len(turns)],), rule)
        if count:
            kept.append((row, after))
    result: dict[str, float] = {"unrelated_rows": float(len(kept))}
    for index, name in enumerate(AXES):
        rated = [(row, axes) for row, axes in kept if getattr(row, name) is not None]
        labels = np.array([getattr(row, name) for row, _ in rated])
        without = np.array([read_with_context(runner, row.text, (), rule)[0][index] for row, _ in rated])
        with_turn = np.array([axes[index] for _, axes in rated])
        result[f"unrelated_{name}_rows"] = float(len(rated))
        result[f"unrelated_{name}_mae"] = float(np.abs(with_turn - labels).mean()) if rated else float("nan")
        result[f"unrelated_{name}_mae_without"] = float(np.abs(without - labels).mean()) if rated else float("nan")
    return result
