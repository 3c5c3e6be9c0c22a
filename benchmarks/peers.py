"""Compares the law with the loops that other companions run: a fixed-tick Euler step, and a linear decay, on one schedule of readings.

`python -m benchmarks.peers` prints a table; with `--plot FILE` it draws it too. The schedule is an hour of talk with a reading every 20
seconds on average, then two hours of silence; a third of the readings arrive between 2 and 30 seconds late. The reference is the sum over
the readings, each with a matrix exponential of its own (`scipy.linalg.expm`) from the moment when the words were said. Errors are of the
five levels, in level units (0 to 100), at random moments.

- **Euler**: each tick adds tick · G·z, as a game loop does, and what has arrived since the last tick. A late reading is felt when it comes.
- **Linear decay**: each tick moves every channel towards rest by a constant step, chosen so that the mean impulse halves in the channel's
  half-life. Nothing flows from one channel to another.
- **Limbic**: `Timeline`, fed in the order of arrival.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import scipy.linalg

from limbic.runtime.clock import NS_PER_S
from services.state_engine.causes import Reading
from services.state_engine.dynamics import Vector
from services.state_engine.folds import Stimulus
from services.state_engine.library import TemperamentLibrary
from services.state_engine.temperament import Temperament
from services.state_engine.timeline import Timeline

TALK_S, SILENCE_S = 3_600.0, 7_200.0
MEAN_GAP_S = 20.0
MOMENTS = 60
POINTS = 1_000
TICKS_S: Final = (1.0, 10.0, 60.0)
EPOCH_NS: Final = 1_780_000_000 * NS_PER_S

Matrix = npt.NDArray[np.float64]
CORTISOL: Final = 2


@dataclass(frozen=True, slots=True)
class Felt:
    """A reading's impulse, when the words were said and when the reading came, in seconds."""

    said_s: float
    came_s: float
    impulse: Vector


def schedule(temperament: Temperament, dice: random.Random) -> list[Felt]:
    """Return the readings, in the order of arrival."""
    felt, moment = [], 0.0
    while (moment := moment + dice.expovariate(1.0 / MEAN_GAP_S)) < TALK_S:
        valence, intimacy, tension = (dice.uniform(-1.0, 1.0) for _ in range(3))
        impulse = temperament.impulse(Reading(valence, intimacy, tension, confidence=dice.uniform(0.4, 1.0)))
        late = dice.uniform(2.0, 30.0) if dice.random() < 1.0 / 3.0 else 0.05
        # Whole nanoseconds, which is what the timeline keeps.
        felt.append(Felt(round(moment * NS_PER_S) / NS_PER_S, moment + late, impulse))
    return sorted(felt, key=lambda one: one.came_s)


def generator(temperament: Temperament) -> Matrix:
    """Return G of dz/dt = G·z."""
    dynamics = temperament.dynamics
    made: Matrix = scipy.linalg.block_diag(dynamics.rates, dynamics.exposure_rates)
    return made


def exact(temperament: Temperament, felt: list[Felt], moments: list[float]) -> list[Vector]:
    """Return the sum over the readings at each moment."""
    law = generator(temperament)
    rest = temperament.dynamics.rest()
    return [
        sum(
            (scipy.linalg.expm(law * (moment - one.said_s)) @ one.impulse for one in felt if one.said_s <= moment), rest
        )
        for moment in moments
    ]


def ours(temperament: Temperament, felt: list[Felt], moments: list[float]) -> list[Vector]:
    """Return what the timeline answers once all has arrived."""
    timeline = Timeline(temperament.dynamics)
    for number, one in enumerate(felt):
        timeline.add_stimulus("", Stimulus((_ns(one.said_s), f"s{number}"), one.impulse))
    return [timeline.state("", _ns(moment)) for moment in moments]


def ticking(
    step: Callable[[Vector], Vector], felt: list[Felt], moments: list[float], tick_s: float, rest: Vector
) -> list[Vector]:
    """Return what a loop of this tick shows at each moment: its last tick's state."""
    states, state, waiting = [], rest, list(felt)
    ticks = 0
    for moment in moments:
        while (ticks + 1) * tick_s <= moment:
            ticks += 1
            state = step(state)
            while waiting and waiting[0].came_s <= ticks * tick_s:
                state = state + waiting.pop(0).impulse
        states.append(state)
    return states


def euler(temperament: Temperament, tick_s: float) -> Callable[[Vector], Vector]:
    """Return one Euler step."""
    law = generator(temperament)
    return lambda state: state + tick_s * (law @ state)


def linear(temperament: Temperament, felt: list[Felt], tick_s: float) -> Callable[[Vector], Vector]:
    """Return one step of a decay of constant speed."""
    decay = -np.diag(generator(temperament))
    # A channel that no reading moves has a mean of 0 and stays at rest.
    impulses = np.abs(np.array([one.impulse for one in felt]))
    mean = impulses.sum(axis=0) / np.maximum(1, np.count_nonzero(impulses, axis=0))
    step = 0.5 * mean * decay / np.log(2.0) * tick_s
    return lambda state: np.sign(state) * np.maximum(np.abs(state) - step, 0.0)


def levels(temperament: Temperament, states: list[Vector]) -> Matrix:
    """Return the five levels at each moment, shape (moments, 5)."""
    readout = temperament.readout
    return np.array([[level.value for level in readout.levels(readout.adapted(state))] for state in states])


def _ns(seconds: float) -> int:
    return EPOCH_NS + round(seconds * NS_PER_S)


def peers(temperament: Temperament, felt: list[Felt], moments: list[float]) -> dict[str, Matrix]:
    """Return the levels at each moment, by who computed them."""
    rest = temperament.dynamics.rest()
    curves = {"Limbic": ours(temperament, felt, moments)}
    for tick_s in TICKS_S:
        curves[f"Euler, tick {tick_s:g} s"] = ticking(euler(temperament, tick_s), felt, moments, tick_s, rest)
    curves["linear decay, tick 1 s"] = ticking(linear(temperament, felt, 1.0), felt, moments, 1.0, rest)
    return {peer: levels(temperament, states) for peer, states in curves.items()}


def draw(curves: dict[str, Matrix], moments: list[float], path: Path) -> None:
    """Draw one hormone's level as three of them compute it."""
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot

    matplotlib.rcParams["svg.hashsalt"] = "limbic"
    figure, axes = pyplot.subplots(figsize=(7.0, 2.8), layout="constrained")
    minutes = [moment / 60.0 for moment in moments]
    for peer, style in (("linear decay, tick 1 s", ":"), ("Euler, tick 60 s", "--"), ("Limbic", "-")):
        axes.plot(minutes, curves[peer][:, CORTISOL], style, label=peer, linewidth=1.2)
    axes.set(xlabel="minutes", ylabel="cortisol", title="One schedule of readings, three ways to compute the level")
    axes.legend(frameon=False, fontsize="small")
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, metadata={"Date": None})


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--plot", type=Path, help="draw cortisol under the last of the temperaments into this SVG")
    arguments = parser.parse_args()
    for name in ("default", "predecessor"):
        temperament, dice = TemperamentLibrary().named(name), random.Random(7)
        felt = schedule(temperament, dice)
        moments = sorted(round(dice.uniform(60.0, TALK_S + SILENCE_S), 9) for _ in range(MOMENTS))
        reference = levels(temperament, exact(temperament, felt, moments))
        print(f"temperament {name}: {len(felt)} readings; error of the levels against the exact sum, in level units")
        print(f"{'':<24} {'largest':>10} {'RMS':>10}")
        for peer, found in peers(temperament, felt, moments).items():
            error = np.abs(found - reference)
            print(f"{peer:<24} {error.max():>10.2g} {np.sqrt((error**2).mean()):>10.2g}")
    if arguments.plot is not None:
        points = [float(point) for point in np.linspace(60.0, TALK_S + SILENCE_S, POINTS)]
        draw(peers(temperament, felt, points), points, arguments.plot)


if __name__ == "__main__":
    main()
