"""The figures of `latency`: whether turns wait for a feeling no longer than they may, with the head fast, slow and dead. Pure."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from limbic.gateway.v1 import gateway_pb2
from limbic.probes.errors import SuiteError

HEADS = ("fast", "slow", "dead")

_OF_STAGES = ("state", "affect", "generate", "first_delta")


@dataclass(frozen=True, slots=True)
class Timed:
    """One turn's times, in seconds.

    Attributes:
        in_window: its reading came in time.
        answered: it got a reply.
        recorded: its reading stands in the journal, at the moment of the words.
        first_delta_s: until the first words of the reply, as the caller saw it; NaN where there were none.
        asked_s: until the model was asked.
        added_s: of the time to the first words what was neither the wait for the reading nor the model's own.
    """

    in_window: bool
    answered: bool
    recorded: bool
    first_delta_s: float
    asked_s: float
    added_s: float


def parse_turns(text: str) -> tuple[str, ...]:
    """Read the suite's turns.

    Raises:
        SuiteError: it is no TOML, or has none.
    """
    try:
        turns = tuple(tomllib.loads(text)["turns"])
    except tomllib.TOMLDecodeError as error:
        raise SuiteError(f"the suite is no TOML: {error}") from None
    except KeyError:
        raise SuiteError("turns is missing") from None
    if not turns:
        raise SuiteError("turns is empty")
    return turns


def timed(
    trace: gateway_pb2.Trace, first_delta_s: float | None, window_s: float, *, in_window: bool, recorded: bool
) -> Timed:
    """Take a turn's times from its trace.

    Args:
        trace: what the turn did.
        first_delta_s: as the caller saw it; None if there was none.
        window_s: the affect window.
        in_window: whether the reading came in time.
        recorded: whether it stands in the journal by now.
    """
    begin = {stage.name: stage.start.ToNanoseconds() / 1e9 for stage in trace.stages}
    length = {stage.name: stage.duration.ToNanoseconds() / 1e9 for stage in trace.stages}
    if first_delta_s is None or not set(_OF_STAGES) <= set(begin):
        return Timed(in_window, False, recorded, math.nan, math.nan, math.nan)
    # Head and state engine work at the same time: the wait for the reading alone is what comes after the state, within the window.
    # It ends when the reading is there, when the head has failed, or when the window closes.
    waited = max(0.0, min(begin["affect"] + length["affect"], window_s) - begin["state"] - length["state"])
    added = first_delta_s - waited - length["first_delta"]
    return Timed(in_window, True, recorded, first_delta_s, begin["generate"], added)


def latency_figures(turns: Mapping[str, Sequence[Timed]], window_s: float) -> dict[str, float]:
    """Return the figures, by head. `turns`: by the head's state, of which there are three."""
    figures = {"window_ms": window_s * 1e3}
    for head, all_turns in turns.items():
        figures[f"{head}.hit_ratio"] = float(np.mean([turn.in_window for turn in all_turns]))
        figures[f"{head}.answered"] = float(np.mean([turn.answered for turn in all_turns]))
        figures[f"{head}.recorded"] = float(np.mean([turn.recorded for turn in all_turns]))
        for name, seconds in (
            ("first_delta", [turn.first_delta_s for turn in all_turns]),
            ("asked", [turn.asked_s for turn in all_turns]),
            ("added", [turn.added_s for turn in all_turns]),
        ):
            for share in (50, 95):
                figures[f"{head}.{name}_p{share}_ms"] = _quantile(seconds, share)
    figures["slow.over_window_p95_ms"] = figures["slow.asked_p95_ms"] - figures["window_ms"]
    return figures


def _quantile(seconds: Sequence[float], share: int) -> float:
    known = [value for value in seconds if not math.isnan(value)]
    return float(np.percentile(known, share)) * 1e3 if known else math.nan
