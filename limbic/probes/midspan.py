"""The figures of `mid-span`: whether feelings last, fade and stay within bounds. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from limbic.probes.levels import AXES, HORMONES, Distances, Reading
from limbic.probes.spans import Span

RECOVERED = 6.0
"""Within this of its baseline a level is in the steady band."""


@dataclass(frozen=True, slots=True)
class SpanCourse:
    """How a span of n turns was felt.

    Attributes:
        before: where the levels stood just before each turn's words, n long.
        after: where they stood right after each turn's words, n long.
        tail: where they stood at each moment of the tail.
        moods: the moods' intensities right after each turn's words, n long.
    """

    before: Sequence[Distances]
    after: Sequence[Distances]
    tail: Sequence[Distances]
    moods: Sequence[Mapping[str, float]]


@dataclass(frozen=True, slots=True)
class SpanSeen:
    """What was seen of a span.

    Attributes:
        readings: what the head said of each turn, None where nothing came.
        course: how it was felt.
        read_by_a_person: how it would have been felt, had the head read as a person does.
    """

    readings: Sequence[Reading | None]
    course: SpanCourse
    read_by_a_person: SpanCourse


def round_figures(plans: Sequence[Span], seen: Mapping[str, SpanSeen]) -> tuple[dict[str, float], dict[str, float]]:
    """Return one round's figures, and those of the same round had the head read as a person does. `seen`: by the span's name."""
    unread = float(sum(reading is None for one in seen.values() for reading in one.readings))
    felt = _figures(plans, {name: one.course for name, one in seen.items()})
    by_a_person = _figures(plans, {name: one.read_by_a_person for name, one in seen.items()})
    read = [reading for reading in seen["neutral"].readings if reading is not None]
    for axis in AXES:
        felt[f"neutral.mean_{axis}"] = float(np.mean([one.axis(axis) for one in read])) if read else math.nan
    return {**felt, "unread": unread}, {**by_a_person, "unread": 0.0}


def _figures(plans: Sequence[Span], courses: Mapping[str, SpanCourse]) -> dict[str, float]:
    by_name = {span.name: span for span in plans}
    return {
        **_lasting(by_name["warm"], courses["warm"], "oxytocin", "warm"),
        **_lasting(by_name["hurtful"], courses["hurtful"], "cortisol", "hurtful"),
        **_resting(courses["neutral"]),
        **_flooded(courses["flood"]),
        **_recovery(by_name["flood"], courses["flood"], courses["short-flood"]),
        **_paces(courses["full-pace"], courses["half-pace"]),
    }


def worst(rounds: Sequence[Mapping[str, float]], lower_is_worse: Mapping[str, bool]) -> dict[str, float]:
    """Return each figure's worst value over the rounds. `lower_is_worse`: False where higher is; by figure."""
    found = {}
    for name in rounds[0]:
        values = [one[name] for one in rounds]
        low = lower_is_worse.get(name, False)
        found[name] = math.nan if any(map(math.isnan, values)) else (min(values) if low else max(values))
    return found


def _lasting(span: Span, seen: SpanCourse, hormone: str, name: str) -> dict[str, float]:
    """How far the sentence moved the hormone that it is about, and what is left of that as hours of everyday talk go by."""
    start = seen.after[0][hormone]
    left = [one[hormone] / start if abs(start) > 1e-9 else math.nan for one in seen.before]

    def left_after(hours: float) -> float:
        index = min(range(1, len(left)), key=lambda turn: abs(span.at_s[turn] - hours * 3600.0))
        return left[index]

    # Everyday talk must not blow the feeling up again: the largest rise from one turn to the next, as a share of the first.
    rises = max((later - earlier for earlier, later in pairwise([1.0, *left[1:]])), default=0.0)
    mood = max(seen.moods[-1], key=lambda one: abs(seen.moods[-1][one]))
    figures = {
        "moved": abs(start),
        "left_after_10_min": left_after(1 / 6),
        "left_after_1_h": left_after(1.0),
        "left_after_12_h": abs(left_after(12.0)),
        "rise_between_turns": rises,
        "mood_after_12_h": abs(seen.moods[-1][mood]),
    }
    return {f"{name}.{figure}": value for figure, value in figures.items()}


def _resting(seen: SpanCourse) -> dict[str, float]:
    far = [max(abs(one[hormone]) for hormone in HORMONES) for one in seen.after]
    half = len(far) // 2
    drift = [abs(float(np.mean([one[hormone] for one in seen.after[half:]]))) for hormone in HORMONES]
    return {"neutral.farthest": max(far), "neutral.drift": max(drift)}


def _flooded(seen: SpanCourse) -> dict[str, float]:
    far = [max(abs(one[hormone]) for hormone in HORMONES) for one in seen.after]
    quarter = max(1, len(far) // 4)
    return {
        "flood.farthest": max(far),
        "flood.growth": float(np.mean(far[-quarter:]) - np.mean(far[quarter : 2 * quarter])),
        "flood.cortisol": float(np.mean([one["cortisol"] for one in seen.after[-quarter:]])),
        "flood.oxytocin": float(np.mean([one["oxytocin"] for one in seen.after[-quarter:]])),
    }


def _recovery(span: Span, long: SpanCourse, short: SpanCourse) -> dict[str, float]:
    times = [_recovered_h(span.tail_s, one.tail) for one in (long, short)]
    return {
        "flood.recovery_h": times[0],
        "flood.recovery_ratio": times[0] / times[1] if times[1] > 0 else math.nan,
        "flood.left_after_24_h": max(abs(value) for value in long.tail[-1].values()),
    }


def _recovered_h(tail_s: Sequence[float], tail: Sequence[Distances]) -> float:
    """Return the hours until all levels are back in the steady band for good; the whole tail where they never are."""
    for index in range(len(tail) - 1, -1, -1):
        if max(abs(value) for value in tail[index].values()) > RECOVERED:
            return tail_s[min(index + 1, len(tail) - 1)] / 3600.0
    return tail_s[0] / 3600.0


def _paces(full: SpanCourse, half: SpanCourse) -> dict[str, float]:
    """Whether the same words lead the same way when they come half as fast."""
    same, judged, curves = 0, 0, []
    for hormone in HORMONES:
        for fast, slow in zip(_moves(full, hormone), _moves(half, hormone), strict=True):
            if abs(fast) >= 1.0:
                judged += 1
                same += fast * slow > 0
        fast_curve, slow_curve = ([one[hormone] for one in seen.after] for seen in (full, half))
        if min(np.ptp(fast_curve), np.ptp(slow_curve)) > 1e-9:
            curves.append(float(np.corrcoef(fast_curve, slow_curve)[0, 1]))
    peaks = [max(abs(one[hormone]) for one in seen.after for hormone in HORMONES) for seen in (full, half)]
    return {
        "pace.same_direction": same / judged if judged else math.nan,
        "pace.correlation": min(curves) if len(curves) == len(HORMONES) else math.nan,
        "pace.peak_ratio": peaks[1] / peaks[0] if peaks[0] > 0 else math.nan,
    }


def _moves(seen: SpanCourse, hormone: str) -> list[float]:
    return [after[hormone] - before[hormone] for before, after in zip(seen.before, seen.after, strict=True)]
