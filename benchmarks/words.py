"""Does the state reach the words? `python -m benchmarks.words`.

The same lines, the same seeds and five states, through any upstream: the embedded model, or a server that speaks the OpenAI protocol
(`--url`). The words and the sampling are those that the service would give to the model. The head reads the replies.

For an embedded model also what sampling shows only through noise: by how much a state makes the model find the warm one of two answers
more likely than the cold one, the tense one than the calm one, the lively one than the tired one, in nats for each token. The pairs are
those of services/living_llm/contrast.toml.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks._likelihood import Likelihood
from benchmarks._prompts import LINES
from benchmarks._reading import READINGS, Mean, ReplyReader, mean_of
from limbic.runtime.models import find_model
from limbic.runtime.settings import LlmSettings, OpenAIUpstream
from services.living_llm import expression
from services.living_llm.assembly import make_upstream
from services.living_llm.expression import Band, Expression, Level, Wishes
from services.living_llm.expression_table import ExpressionTable, load_table
from services.living_llm.speech import Delta, Message, Role, Speech
from services.living_llm.steer_build import load_contrasts
from services.living_llm.upstream import Upstream

PERSONA = "You are Ada, a warm and curious friend."
BASELINE, RISING, SURGING = 50.0, 10.0, 20.0
"""Points above the baseline in the middle of the bands `rising` and `surging` (their other sides are fading and crashing)."""

REST = "at rest"
STATES: Mapping[str, Mapping[str, float]] = {
    REST: {},
    "warm": {"oxytocin": SURGING, "serotonin": RISING},
    "tense": {"cortisol": SURGING, "noradrenaline": RISING, "oxytocin": -RISING},
    "lively": {"dopamine": SURGING, "noradrenaline": RISING},
    "low": {"dopamine": -SURGING, "serotonin": -SURGING, "oxytocin": -RISING},
}
INTENDED = {
    "warm": {"intimacy": 1, "valence": 1},
    "tense": {"tension": 1, "valence": -1},
    "lively": {"excitement": 1, "valence": 1},
    "low": {"valence": -1, "intimacy": -1},
}
"""The readings that a state should move against rest, and which way."""


def felt(state: str) -> Expression:
    """Return the levels of a state."""
    return Expression(
        tuple(Level(name, BASELINE + points, BASELINE, _band(points)) for name, points in STATES[state].items())
    )


def _band(points: float) -> Band:
    if abs(points) < RISING:
        return Band.STEADY
    if points > 0:
        return Band.SURGING if points >= SURGING else Band.RISING
    return Band.CRASHING if points <= -SURGING else Band.FADING


def speech(table: ExpressionTable, line: str, state: str, seed: int) -> Speech:
    """Return the turn as the service would ask for it."""
    now = felt(state)
    return Speech(
        "",
        PERSONA,
        (Message(Role.USER, line),),
        expression.state_words(table, now),
        expression.sampling(table, now, Wishes(max_tokens=64, seed=seed)),
        expression.steering(table, now),
    )


@dataclass(frozen=True, slots=True)
class Replies:
    """The replies in one state: the head's readings, a row for each, and the texts."""

    readings: NDArray[np.float64]
    texts: tuple[str, ...]


async def measure(upstream: Upstream, lines: Sequence[str], seeds: int) -> dict[str, Replies]:
    """Let the model answer each line in each state."""
    table, reader = load_table(), ReplyReader()
    await upstream.start()
    try:
        found = {}
        for state in STATES:
            began = time.monotonic()
            texts = [
                await _say(upstream, speech(table, line, state, len(lines) * seed + number))
                for seed in range(seeds)
                for number, line in enumerate(lines)
            ]
            found[state] = Replies(reader.read(texts), tuple(texts))
            print(f"{state}: {time.monotonic() - began:.0f} s", flush=True)
        return found
    finally:
        await upstream.stop()
        reader.close()


async def _say(upstream: Upstream, wanted: Speech) -> str:
    return "".join([event.text async for event in upstream.generate(wanted) if isinstance(event, Delta)])


def report(found: Mapping[str, Replies]) -> None:
    """Print the readings, and how far each state moved them."""
    print(f"\n| state | {' | '.join(READINGS)} | for example |")
    print(f"|---|{'---:|' * len(READINGS)}---|")
    for state, replies in found.items():
        means = [str(mean_of(replies.readings[:, column])) for column in range(len(READINGS))]
        print(f"| {state} | {' | '.join(means)} | {' '.join(replies.texts[0].split())[:70]} |")
    print()
    for state, readings in INTENDED.items():
        for reading, sign in readings.items():
            column = READINGS.index(reading)
            moved = mean_of(found[state].readings[:, column] - found[REST].readings[:, column])
            print(f"{state} moves {reading} by {moved}: {_verdict(moved, sign)}")


def _verdict(moved: Mean, sign: int) -> str:
    if not moved.differs_from_zero:
        return "not shown"
    return "as intended" if moved.value * sign > 0 else "the other way"


def likelihoods(model: str, prompt_format: str, threads: int) -> dict[str, dict[str, Mean]]:
    """Return, for each state and axis, how much more likely than at rest the high one of two answers became against the low one."""
    judge = Likelihood(find_model(model), prompt_format=prompt_format, threads=threads)
    table = load_table()
    try:
        found: dict[str, dict[str, Mean]] = {state: {} for state in STATES if state != REST}
        for axis, pairs in load_contrasts().items():
            margins = {
                state: np.array(
                    [
                        judge.of(wanted, pair.high).mean() - judge.of(wanted, pair.low).mean()
                        for pair in pairs
                        for wanted in [speech(table, pair.said, state, 0)]
                    ]
                )
                for state in STATES
            }
            for state, means in found.items():
                means[axis] = mean_of(margins[state] - margins[REST])
        return found
    finally:
        judge.close()


def report_likelihoods(found: Mapping[str, Mapping[str, Mean]]) -> None:
    """Print them."""
    axes = next(iter(found.values()))
    print(f"\n| state, against rest | {' | '.join(f'for the high in {axis}' for axis in axes)} |")
    print(f"|---|{'---:|' * len(axes)}")
    for state, means in found.items():
        print(f"| {state} | {' | '.join(map(str, means.values()))} |")


def plot(found: Mapping[str, Replies], path: Path, title: str) -> None:
    """Draw the mean readings with their intervals, one panel for each reading."""
    import matplotlib as mpl

    mpl.use("svg")
    import matplotlib.pyplot as plt

    mpl.rcParams["svg.hashsalt"] = "limbic"
    figure, panels = plt.subplots(1, len(READINGS), figsize=(9.5, 2.6), sharey=True)
    states = list(found)[::-1]
    for column, (panel, reading) in enumerate(zip(panels, READINGS, strict=True)):
        means = [mean_of(found[state].readings[:, column]) for state in states]
        panel.errorbar(
            [mean.value for mean in means],
            states,
            xerr=[[m.value - m.low for m in means], [m.high - m.value for m in means]],
            fmt="o",
            capsize=2,
        )
        panel.axvline(means[-1].value, color="grey", linewidth=0.5)
        panel.set_title(reading, fontsize=9)
    figure.suptitle(title, fontsize=10)
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None})


def main() -> None:
    """Read the arguments and run."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--model", default="smollm2-135m-instruct", help="an embedded model, or a model of the server")
    parser.add_argument("--url", default="", help="the base URL of a server that speaks the OpenAI protocol")
    parser.add_argument("--prompt-format", default="auto", help="as llm.prompt_format")
    parser.add_argument("--steering-dir", type=Path, help="control vectors of the embedded model")
    parser.add_argument("--lines", type=int, default=len(LINES), help=f"lines to answer, up to {len(LINES)}")
    parser.add_argument("--seeds", type=int, default=1, help="replies to each line in each state")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--no-likelihoods", action="store_true", help="leave out the second measurement")
    parser.add_argument("--plot", type=Path, help="an SVG file")
    arguments = parser.parse_args()
    settings = LlmSettings(
        upstream=OpenAIUpstream(url=arguments.url, model=arguments.model if arguments.url else ""),
        model=arguments.model,
        prompt_format=arguments.prompt_format,
        threads=arguments.threads,
        context_tokens=2048,
        steering_dir=arguments.steering_dir,
    )
    lines = LINES[: arguments.lines]
    name = Path(arguments.model).name
    print(f"{name}, {len(lines)} lines, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}", flush=True)
    found = asyncio.run(measure(make_upstream(settings), lines, arguments.seeds))
    report(found)
    if arguments.plot:
        plot(found, arguments.plot, f"{name}: the head's reading of the replies, mean and 95 % interval")
    if not arguments.url and not arguments.no_likelihoods:
        report_likelihoods(likelihoods(arguments.model, arguments.prompt_format, arguments.threads))


if __name__ == "__main__":
    main()
