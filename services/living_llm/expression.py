"""From what the character feels to how it speaks: words for the prompt and numbers for the sampling. Pure.

Bands and moods become words, values become sampling, and neither becomes the other: no number ever reaches a prompt. The words tell the
model how to speak, in the second person, and never what it feels, so that there is nothing to narrate. At rest there are no words.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from services.living_llm.expression_table import HORMONES, ExpressionTable, Parameter, normalised
from services.living_llm.speech import Sampling


class Band(StrEnum):
    """Where a level stands, measured from its own baseline."""

    CRASHING = "crashing"
    FADING = "fading"
    STEADY = "steady"
    RISING = "rising"
    SURGING = "surging"


@dataclass(frozen=True, slots=True)
class Level:
    """One hormone: its value and baseline in 0…100, and its band."""

    name: str
    value: float
    baseline: float
    band: Band


@dataclass(frozen=True, slots=True)
class Mood:
    """One mood's intensity, −1…1; 0 at rest."""

    name: str
    intensity: float


@dataclass(frozen=True, slots=True)
class Expression:
    """What may show. `style` is a name in the table, or empty for its default."""

    levels: tuple[Level, ...] = ()
    moods: tuple[Mood, ...] = ()
    style: str = ""


@dataclass(frozen=True, slots=True)
class Wishes:
    """Sampling that the caller asked for. None follows the expression."""

    temperature: float | None = None
    top_p: float | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    max_tokens: int | None = None
    stop: tuple[str, ...] = ()
    seed: int | None = None


def wordless_moods(table: ExpressionTable, expression: Expression) -> list[str]:
    """Return the moods that would show if the table had words for them."""
    return [
        mood.name
        for mood in expression.moods
        if mood.name not in table.moods and abs(mood.intensity) >= table.mood_shows_from
    ]


def state_words(table: ExpressionTable, expression: Expression) -> str:
    """Return how to speak, as one or two sentences; empty when everything is steady and the style asks for nothing."""
    weighted: list[tuple[float, str]] = []
    for level in expression.levels:
        if level.band is not Band.STEADY:
            words: str = getattr(getattr(table.words, level.name), level.band.value)
            weighted.append((abs(normalised(level.value, level.baseline, table.full_distance)), words))
    for mood in expression.moods:
        if mood.name in table.moods and abs(mood.intensity) >= table.mood_shows_from:
            sides = table.moods[mood.name]
            weighted.append((abs(mood.intensity), sides.high if mood.intensity > 0 else sides.low))
    # A stable sort: equal feelings keep the caller's order, so that the words do not flicker.
    strongest = [words for _, words in sorted(weighted, key=lambda pair: -pair[0])[: table.most_words]]
    sentences = [f"Be {'; '.join(strongest)}."] if strongest else []
    if style_words := table.styles[expression.style or table.default_style].words:
        sentences.append(style_words)
    return " ".join(sentences)


def sampling(table: ExpressionTable, expression: Expression, wishes: Wishes) -> Sampling:
    """Return the sampling in force: each parameter's base plus its linear effects, clamped; the caller's own wish wins over it.

    The style's length is a ceiling on what the levels allow, and never lengthens it.
    """
    distances = {
        level.name: normalised(level.value, level.baseline, table.full_distance) for level in expression.levels
    }
    style = table.styles[expression.style or table.default_style]
    rows = table.sampling
    return Sampling(
        temperature=_chosen(wishes.temperature, rows.temperature, distances),
        top_p=_chosen(wishes.top_p, rows.top_p, distances),
        frequency_penalty=_chosen(wishes.frequency_penalty, rows.frequency_penalty, distances),
        presence_penalty=_chosen(wishes.presence_penalty, rows.presence_penalty, distances),
        max_tokens=wishes.max_tokens or min(style.max_tokens, round(_followed(rows.max_tokens, distances))),
        stop=wishes.stop,
        seed=wishes.seed,
    )


def steering(table: ExpressionTable, expression: Expression) -> tuple[tuple[str, float], ...]:
    """Return how strongly each control vector acts, by axis, for models that have any; an axis at 0 is left out."""
    distances = {
        level.name: normalised(level.value, level.baseline, table.full_distance) for level in expression.levels
    }
    rows = {"warmth": table.steering.warmth, "tension": table.steering.tension, "energy": table.steering.energy}
    strengths = ((axis, _followed(parameter, distances)) for axis, parameter in rows.items())
    return tuple((axis, strength) for axis, strength in strengths if strength)


def _chosen(wish: float | None, parameter: Parameter, distances: dict[str, float]) -> float:
    return wish if wish is not None else _followed(parameter, distances)


def _followed(parameter: Parameter, distances: dict[str, float]) -> float:
    effects: dict[str, float] = {name: getattr(parameter.effects, name) for name in HORMONES}
    value = parameter.base + sum(effects[name] * distance for name, distance in distances.items())
    # Four digits are more than any sampler feels, and keep sums of tenths readable.
    return round(min(parameter.high, max(parameter.low, value)), 4)
