"""What control vectors do to an embedded model's replies: `python -m benchmarks.steering`.

The same lines, the same seeds, no words of state, one vector at a time and one strength after another, through the upstream that speaks
in the service. The head reads the replies. How far the text has degraded is told by the same model without steering (how likely it finds
what was said), by repetition and by replies that are empty.
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
from benchmarks._reading import READINGS, Mean, ReplyReader, distinct_pairs, mean_of
from limbic.runtime.models import find_model
from services.living_llm.control_vectors import AXES
from services.living_llm.embedded import EmbeddedUpstream
from services.living_llm.engine import BATCH_TOKENS, Engine
from services.living_llm.speech import Delta, Message, Role, Sampling, Speech

PERSONA = "You are Ada, a warm and curious friend."
VECTORS = Path("services/living_llm/vectors/smollm2-135m-instruct")
INTENDED = {
    "warmth": {"intimacy": 1, "valence": 1},
    "tension": {"tension": 1, "valence": -1},
    "energy": {"excitement": 1},
}
"""The readings that a vector should move, and which way."""


@dataclass(frozen=True, slots=True)
class Condition:
    """The replies under one strength of one vector.

    Attributes:
        readings: a row for each reply.
        log_likelihoods: per token, of each reply, under the model without steering; NaN for an empty reply.
        distinct: share of word pairs that a reply does not repeat.
        empty: share of replies without a word.
        words: mean length in words.
        texts: the replies.
    """

    readings: NDArray[np.float64]
    log_likelihoods: NDArray[np.float64]
    distinct: float
    empty: float
    words: float
    texts: tuple[str, ...]


def speech(line: str, seed: int, steering: tuple[tuple[str, float], ...]) -> Speech:
    """Return a first turn with the sampling that holds at rest."""
    return Speech("", PERSONA, (Message(Role.USER, line),), "", Sampling(0.7, 0.92, 0.2, 0.1, 48, (), seed), steering)


async def say(upstream: EmbeddedUpstream, wanted: Speech) -> str:
    """Return a whole reply."""
    return "".join([event.text async for event in upstream.generate(wanted) if isinstance(event, Delta)])


async def run(
    upstream: EmbeddedUpstream, reader: ReplyReader, judge: Likelihood, lines: Sequence[str], axis: str, strength: float
) -> Condition:
    """Let the model answer each line under one strength of one vector."""
    steering = ((axis, strength),) if strength else ()
    texts = [await say(upstream, speech(line, seed, steering)) for seed, line in enumerate(lines)]
    judged = [
        judge.of(speech(line, 0, ()), text).mean() if text.strip() else np.nan
        for line, text in zip(lines, texts, strict=True)
    ]
    return Condition(
        reader.read(texts),
        np.array(judged),
        distinct_pairs(texts),
        float(np.mean([not text.strip() for text in texts])),
        float(np.mean([len(text.split()) for text in texts])),
        tuple(texts),
    )


def steer_the_whole_prompt(engine: Engine) -> None:
    """Make an engine steer all of each prompt instead of its last token, which means to compute all of it each time."""

    def evaluate(prompt: Sequence[int], steering: NDArray[np.float32] | None = None) -> int:
        engine._unsteer()
        engine._keep(0)
        if steering is not None:
            engine._steer(steering)
        for start in range(0, len(prompt), BATCH_TOKENS):
            engine._decode(prompt[start : start + BATCH_TOKENS])
        return 0

    engine.evaluate = evaluate  # type: ignore[method-assign]


async def measure(
    upstream: EmbeddedUpstream,
    judge: Likelihood,
    lines: Sequence[str],
    axes: Sequence[str],
    strengths: Sequence[float],
    whole_prompt: bool,
) -> dict[tuple[str, float], Condition]:
    """Measure each vector at each strength; a strength of 0 once."""
    await upstream.start()
    if whole_prompt:
        assert upstream._model is not None
        steer_the_whole_prompt(upstream._model.engine)
    reader = ReplyReader()
    try:
        plain = await run(upstream, reader, judge, lines, AXES[0], 0.0)
        found = {}
        for axis in axes:
            for strength in strengths:
                began = time.monotonic()
                found[axis, strength] = await run(upstream, reader, judge, lines, axis, strength) if strength else plain
                print(f"{axis} {strength:+g}: {time.monotonic() - began:.0f} s", flush=True)
        return found
    finally:
        judge.close()
        reader.close()
        await upstream.stop()


def moved(found: Mapping[tuple[str, float], Condition], axis: str, strength: float, reading: str) -> Mean:
    """Return how far a reading moved from where it is without steering, over the same lines."""
    column = READINGS.index(reading)
    return mean_of(found[axis, strength].readings[:, column] - found[axis, 0.0].readings[:, column])


def report(found: Mapping[tuple[str, float], Condition]) -> None:
    """Print what was found."""
    for axis in dict.fromkeys(axis for axis, _ in found):
        print(f"\n| {axis} | {' | '.join(READINGS)} | perplexity | pairs not repeated | words | empty | for example |")
        print(f"|---:|{'---:|' * (len(READINGS) + 4)}---|")
        for (one, strength), condition in found.items():
            if one == axis:
                means = [str(mean_of(condition.readings[:, column])) for column in range(len(READINGS))]
                print(
                    f"| {strength:+g} | {' | '.join(means)} | {perplexity(condition):.1f} | {condition.distinct:.2f} "
                    f"| {condition.words:.1f} | {condition.empty:.0%} | {condition.texts[0][:70]} |"
                )
        for strength in sorted({strength for one, strength in found if one == axis and strength}):
            for reading, sign in INTENDED[axis].items():
                mean = moved(found, axis, strength, reading)
                right = mean.differs_from_zero and np.sign(mean.value) == sign * np.sign(strength)
                said = "as intended" if right else "not shown" if not mean.differs_from_zero else "the other way"
                print(f"{axis} {strength:+g} moves {reading} by {mean}: {said}")


def perplexity(condition: Condition) -> float:
    """Return exp of the mean surprise of a reply's tokens under the model without steering, over replies."""
    return float(np.exp(-np.nanmean(condition.log_likelihoods)))


def plot(found: Mapping[tuple[str, float], Condition], path: Path, title: str) -> None:
    """Draw the readings and the perplexity over the strength, one column for each vector."""
    import matplotlib as mpl

    mpl.use("svg")
    import matplotlib.pyplot as plt

    mpl.rcParams["svg.hashsalt"] = "limbic"
    axes = list(dict.fromkeys(axis for axis, _ in found))
    figure, rows = plt.subplots(
        2, len(axes), squeeze=False, figsize=(9.5, 5.2), sharex=True, sharey="row", height_ratios=[2, 1]
    )
    for column, axis in enumerate(axes):
        strengths = sorted(strength for one, strength in found if one == axis)
        for number, reading in enumerate(READINGS):
            means = [mean_of(found[axis, strength].readings[:, number]) for strength in strengths]
            rows[0][column].plot(strengths, [mean.value for mean in means], marker=".", label=reading)
            rows[0][column].fill_between(strengths, [m.low for m in means], [m.high for m in means], alpha=0.15)
        rows[0][column].set_title(axis)
        rows[0][column].axhline(0.0, color="grey", linewidth=0.5)
        rows[1][column].plot(strengths, [perplexity(found[axis, strength]) for strength in strengths], "k.-")
        rows[1][column].set_yscale("log")
        rows[1][column].set_xlabel("strength")
    rows[0][0].set_ylabel("the head's reading")
    rows[1][0].set_ylabel("perplexity,\nwithout steering")
    rows[0][0].legend(fontsize=7, frameon=False)
    figure.suptitle(title, fontsize=10)
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None})


def main() -> None:
    """Read the arguments and run."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument(
        "--model", default="smollm2-135m-instruct", help="a name in limbic/models.toml, or a .gguf file"
    )
    parser.add_argument("--vectors", type=Path, default=VECTORS, help="a folder made by `limbic steer build`")
    parser.add_argument("--prompt-format", default="auto", help="as llm.prompt_format")
    parser.add_argument("--lines", type=int, default=50, help=f"lines to answer, up to {len(LINES)}")
    parser.add_argument("--strengths", type=float, nargs="+", default=[-3, -2, -1, 0, 1, 2, 3])
    parser.add_argument("--axes", nargs="+", choices=AXES, default=AXES)
    parser.add_argument(
        "--whole-prompt", action="store_true", help="steer all of the prompt and not its last token only"
    )
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--plot", type=Path, help="an SVG file")
    arguments = parser.parse_args()
    file = find_model(arguments.model)
    lines = LINES[: arguments.lines]
    strengths = sorted({*arguments.strengths, 0.0})
    print(f"{file.name}, {len(lines)} lines, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}", flush=True)
    upstream = EmbeddedUpstream(
        file,
        context_tokens=1024,
        threads=arguments.threads,
        queue=1,
        prompt_format=arguments.prompt_format,
        steering_dir=arguments.vectors,
    )
    judge = Likelihood(file, prompt_format=arguments.prompt_format, threads=arguments.threads)
    found = asyncio.run(measure(upstream, judge, lines, arguments.axes, strengths, arguments.whole_prompt))
    report(found)
    if arguments.plot:
        plot(found, arguments.plot, f"{file.name}: replies to {len(lines)} lines, mean and 95 % interval")


if __name__ == "__main__":
    main()
