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
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks._likelihood import Likelihood
from benchmarks._prompts import LINES
from benchmarks._reading import READINGS, Mean, ReplyReader, mean_of
from benchmarks._words import REST, Measured, likelihoods_table, moved_table, plot, replies_table
from limbic.runtime.models import find_model
from limbic.runtime.settings import LlmSettings, UpstreamSettings
from services.living_llm import expression
from services.living_llm.assembly import make_upstreams
from services.living_llm.expression import Band, Expression, Level, Wishes
from services.living_llm.expression_table import ExpressionTable, load_table
from services.living_llm.speech import Delta, Message, Role, Speech
from services.living_llm.steer_build import load_contrasts
from services.living_llm.upstream import Upstream

PERSONA = "You are Ada, a warm and curious friend."
BASELINE, RISING, SURGING = 50.0, 10.0, 20.0
"""Points above the baseline in the middle of the bands `rising` and `surging` (their other sides are fading and crashing)."""

STATES: Mapping[str, Mapping[str, float]] = {
    REST: {},
    "warm": {"oxytocin": SURGING, "serotonin": RISING},
    "tense": {"cortisol": SURGING, "noradrenaline": RISING, "oxytocin": -RISING},
    "lively": {"dopamine": SURGING, "noradrenaline": RISING},
    "low": {"dopamine": -SURGING, "serotonin": -SURGING, "oxytocin": -RISING},
}


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


async def replies(upstream: Upstream, lines: Sequence[str], seeds: int) -> dict[str, list[str]]:
    """Let the model answer each line in each state, and return the replies: those of the first seed first, in the order of the lines."""
    table = load_table()
    await upstream.start()
    try:
        found = {}
        for state in STATES:
            began = time.monotonic()
            found[state] = [
                await _say(upstream, speech(table, line, state, len(lines) * seed + number))
                for seed in range(seeds)
                for number, line in enumerate(lines)
            ]
            print(f"{state}: {time.monotonic() - began:.0f} s", flush=True)
        return found
    finally:
        await upstream.stop()


async def _say(upstream: Upstream, wanted: Speech) -> str:
    return "".join([event.text async for event in upstream.generate(wanted) if isinstance(event, Delta)])


def measured(
    voice: str,
    said: Mapping[str, Sequence[str]],
    seeds: int,
    likely: Mapping[str, Mapping[str, Mean]],
) -> Measured:
    """Let the head read the replies. What one line brought under several seeds counts as one value: its replies are alike."""
    reader = ReplyReader()
    try:
        rows = {state: _by_line(reader.read(texts), seeds) for state, texts in said.items()}
    finally:
        reader.close()
    return Measured(
        voice=voice,
        lines=len(rows[REST]),
        seeds=seeds,
        head_sha256=find_model("affect-head").sha256,
        readings={state: _means(values) for state, values in rows.items()},
        moved={state: _means(values - rows[REST]) for state, values in rows.items() if state != REST},
        words={state: float(np.mean([len(text.split()) for text in texts])) for state, texts in said.items()},
        examples={state: texts[0] for state, texts in said.items()},
        likelihoods=likely,
    )


def _by_line(readings: NDArray[np.float64], seeds: int) -> NDArray[np.float64]:
    each = readings.reshape(seeds, -1, len(READINGS))
    said = ~np.isnan(each)
    # A line to which nothing was said under any seed stays NaN.
    with np.errstate(invalid="ignore"):
        return np.asarray(np.where(said, each, 0.0).sum(axis=0) / said.sum(axis=0), np.float64)


def _means(values: NDArray[np.float64]) -> dict[str, Mean]:
    return {reading: mean_of(values[:, column]) for column, reading in enumerate(READINGS)}


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


def report(found: Measured) -> None:
    """Print what was found."""
    print(f"\n{found.voice}, {found.lines} lines, {found.seeds} replies to each; head {found.head_sha256[:12]}\n")
    for table in (replies_table(found), moved_table([found]), likelihoods_table([found])):
        print("\n".join(table), end="\n\n")


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
    parser.add_argument("--save", type=Path, help="a JSON file for what was found")
    parser.add_argument("--draw", type=Path, nargs="+", help="measure nothing, take these JSON files")
    parser.add_argument("--plot", type=Path, help="an SVG file")
    arguments = parser.parse_args()
    if arguments.draw:
        found = [Measured.load(path) for path in arguments.draw]
        for table in (moved_table(found), likelihoods_table(found)):
            print("\n".join(table), end="\n\n")
    else:
        found = [_measure(arguments)]
        report(found[0])
        if arguments.save:
            found[0].save(arguments.save)
    if arguments.plot:
        plot(found, arguments.plot)


def _measure(arguments: argparse.Namespace) -> Measured:
    settings = LlmSettings(
        upstream=UpstreamSettings(url=arguments.url, model=arguments.model if arguments.url else ""),
        model=arguments.model,
        prompt_format=arguments.prompt_format,
        threads=arguments.threads,
        context_tokens=2048,
        steering_dir=arguments.steering_dir,
    )
    lines = LINES[: arguments.lines]
    name = Path(arguments.model).stem if arguments.model.endswith(".gguf") else arguments.model
    print(f"{name}, {len(lines)} lines, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}", flush=True)
    (upstream,) = make_upstreams(settings)
    said = asyncio.run(replies(upstream, lines, arguments.seeds))
    likely = {}
    if not arguments.url and not arguments.no_likelihoods:
        likely = likelihoods(arguments.model, arguments.prompt_format, arguments.threads)
    return measured(f"{name}, steered" if arguments.steering_dir else name, said, arguments.seeds, likely)


if __name__ == "__main__":
    main()
