"""What `benchmarks.words` found: kept as JSON, shown as tables and as a plot, so that a document can be held to what was measured."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks._reading import READINGS, Mean

if TYPE_CHECKING:
    from matplotlib.axes import Axes

REST = "at rest"
INTENDED: Mapping[str, Mapping[str, int]] = {
    "warm": {"valence": 1, "intimacy": 1},
    "tense": {"valence": -1, "tension": 1},
    "lively": {"valence": 1, "excitement": 1},
    "low": {"valence": -1, "intimacy": -1},
}
"""The readings that a state should move against rest, and which way."""

_COLOURS = ("#0072b2", "#d55e00", "#56b4e9", "#e69f00")
"""Apart from each other for most colour-blind eyes."""


@dataclass(frozen=True, slots=True)
class Measured:
    """One voice in all states.

    Attributes:
        voice: the model's name, and what was done to it besides.
        lines: lines that were answered in each state.
        seeds: replies to each of them.
        head_sha256: of the head that read the replies.
        readings: by state and reading, the mean over the replies.
        moved: by state and reading, how far it moved from rest, over the same lines and seeds.
        words: by state, words in a reply.
        examples: by state, the first reply.
        likelihoods: by state and axis, how much more likely than at rest the high one of two answers has become against the low one, in
            nats for each token; empty where that was not measured.
    """

    voice: str
    lines: int
    seeds: int
    head_sha256: str
    readings: Mapping[str, Mapping[str, Mean]]
    moved: Mapping[str, Mapping[str, Mean]]
    words: Mapping[str, float]
    examples: Mapping[str, str]
    likelihoods: Mapping[str, Mapping[str, Mean]]

    def save(self, path: Path) -> None:
        """Write it as JSON, every number with four digits."""
        path.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps(_rounded(dataclasses.asdict(self)), indent=1, ensure_ascii=False)
        path.write_text(f"{text}\n", "utf-8")

    @classmethod
    def load(cls, path: Path) -> Measured:
        """Read what `save` wrote."""
        found = json.loads(path.read_text("utf-8"))
        for name in ("readings", "moved", "likelihoods"):
            found[name] = {
                state: {key: Mean(**mean) for key, mean in means.items()} for state, means in found[name].items()
            }
        return cls(**found)


def verdict(moved: Mean, sign: int) -> str:
    """Say whether a reading moved the way it should."""
    if not moved.differs_from_zero:
        return "not shown"
    return "as intended" if moved.value * sign > 0 else "the other way"


def moved_table(found: Sequence[Measured]) -> list[str]:
    """Return the lines of a Markdown table: what each state moved that it should move, by voice."""
    lines = [
        f"| state | reading | meant | {' | '.join(one.voice for one in found)} |",
        f"|---|---|:-:|{'---|' * len(found)}",
    ]
    for state, readings in INTENDED.items():
        for reading, sign in readings.items():
            cells = [f"{mean}: {verdict(mean, sign)}" for one in found for mean in [one.moved[state][reading]]]
            lines.append(f"| {state} | {reading} | {'+' if sign > 0 else '−'} | {' | '.join(cells)} |")
    return lines


def replies_table(one: Measured) -> list[str]:
    """Return the lines of a Markdown table: the mean readings of one voice's replies, and their length, by state."""
    lines = [
        f"| state | {' | '.join(READINGS)} | words | for example |",
        f"|---|{'---:|' * (len(READINGS) + 1)}---|",
    ]
    for state, means in one.readings.items():
        example = " ".join(one.examples[state].split())[:70]
        lines.append(f"| {state} | {' | '.join(map(str, means.values()))} | {one.words[state]:.1f} | {example} |")
    return lines


def likelihoods_table(found: Sequence[Measured]) -> list[str]:
    """Return the lines of a Markdown table: what the states do to the likelihood of pairs of answers, by voice."""
    measured = [one for one in found if one.likelihoods]
    if not measured:
        return []
    axes = list(next(iter(measured[0].likelihoods.values())))
    lines = [
        f"| voice | state | {' | '.join(f'for the high in {axis}' for axis in axes)} |",
        f"|---|---|{'---:|' * len(axes)}",
    ]
    for one in measured:
        for state, means in one.likelihoods.items():
            lines.append(f"| {one.voice} | {state} | {' | '.join(map(str, means.values()))} |")
    return lines


def plot(found: Sequence[Measured], path: Path) -> None:
    """Draw how far each state moved each reading from rest, a panel for each reading and a colour for each voice.

    The half of a panel into which a state should move its reading is shaded.
    """
    import matplotlib as mpl

    mpl.use("svg")
    import matplotlib.pyplot as plt

    states = list(INTENDED)
    with mpl.rc_context({"svg.hashsalt": "limbic"}):
        figure, panels = plt.subplots(
            1,
            len(READINGS),
            figsize=(9.5, 0.5 + 0.22 * len(states) * (len(found) + 1)),
            sharey=True,
            layout="constrained",
        )
        for panel, reading in zip(panels, READINGS, strict=True):
            _draw(panel, reading, found, states)
        panels[0].set_yticks([-float(row) for row in range(len(states))], states)
        panels[0].set_ylim(-len(states) + 0.5, 0.5)
        lines, _ = panels[0].get_legend_handles_labels()
        figure.legend(handles=lines, loc="outside lower center", ncols=len(found), fontsize=7, frameon=False)
        title = (
            f"What a state moves in the head's reading of the replies ({found[0].lines} lines, mean and 95 % interval)"
        )
        figure.suptitle(title, fontsize=10)
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, metadata={"Date": None})
        plt.close(figure)


def _draw(panel: Axes, reading: str, found: Sequence[Measured], states: Sequence[str]) -> None:
    panel.axvline(0.0, color="grey", linewidth=0.7)
    panel.set_title(reading, fontsize=9)
    panel.tick_params(labelsize=7)
    step = 0.8 / len(found)
    for number, (one, colour) in enumerate(zip(found, _COLOURS, strict=False)):
        means = [one.moved[state][reading] for state in states]
        panel.errorbar(
            [mean.value for mean in means],
            [-row + 0.4 - (number + 0.5) * step for row in range(len(states))],
            xerr=[[mean.value - mean.low for mean in means], [mean.high - mean.value for mean in means]],
            fmt="o",
            markersize=3,
            capsize=2,
            linewidth=1.0,
            color=colour,
            label=one.voice,
        )
    low, high = panel.get_xlim()
    furthest = max(-low, high)
    panel.set_xlim(-furthest, furthest)
    panel.locator_params(axis="x", nbins=5)
    for row, state in enumerate(states):
        if sign := INTENDED[state].get(reading):
            panel.fill_between(
                [0.0, sign * furthest], -row - 0.45, -row + 0.45, color="#009e73", alpha=0.12, linewidth=0
            )


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, 4)
    if isinstance(value, dict):
        return {key: _rounded(one) for key, one in value.items()}
    return value
