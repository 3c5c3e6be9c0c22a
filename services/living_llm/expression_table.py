"""The table that turns feelings into words and sampling: its form, and what is refused when it is loaded."""

from __future__ import annotations

import math
import tomllib
from importlib import resources
from typing import Annotated, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

HORMONES = ("dopamine", "serotonin", "cortisol", "oxytocin", "noradrenaline")

# A longer text would be a second persona, and what the window keeps free for the state has to hold it.
MAX_WORDS_CHARS = 80


# At 5 SmolLM2's tense replies turn into punctuation.
MAX_STEERING = 4.0


class ExpressionTableError(Exception):
    """The table cannot be used. The text names the key and the reason."""


def _plain_words(value: str) -> str:
    if not value.isprintable() or any(mark in value for mark in "()[]⟦⟧"):
        raise ValueError("must be one line without brackets: brackets delimit the block that holds it")
    if any(character.isdigit() for character in value):
        raise ValueError("must not hold a number: a model told numbers speaks of numbers")
    if named := [hormone for hormone in HORMONES if hormone in value.lower()]:
        raise ValueError(f"must not name a hormone, and names {named[0]}")
    return value


Words = Annotated[str, Field(min_length=1, max_length=MAX_WORDS_CHARS), AfterValidator(_plain_words)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=False, allow_inf_nan=False)


class BandWords(_Part):
    """How one hormone's bands sound. Steady has no words."""

    crashing: Words
    fading: Words
    rising: Words
    surging: Words


class HormoneWords(_Part):
    """The words of every hormone."""

    dopamine: BandWords
    serotonin: BandWords
    cortisol: BandWords
    oxytocin: BandWords
    noradrenaline: BandWords


class MoodWords(_Part):
    """How a mood sounds above and below rest."""

    high: Words
    low: Words


class HormoneEffects(_Part):
    """What a distance of 1 from each hormone's baseline adds to a parameter."""

    dopamine: float = 0.0
    serotonin: float = 0.0
    cortisol: float = 0.0
    oxytocin: float = 0.0
    noradrenaline: float = 0.0


class Parameter(_Part):
    """One sampling parameter: `base` at rest, kept in `low`…`high`."""

    base: float
    low: float
    high: float
    effects: HormoneEffects

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if not self.low <= self.base <= self.high:
            raise ValueError("must satisfy low <= base <= high")
        return self


class SamplingTable(_Part):
    """The five parameters that follow the levels."""

    temperature: Parameter
    top_p: Parameter
    frequency_penalty: Parameter
    presence_penalty: Parameter
    max_tokens: Parameter

    @model_validator(mode="after")
    def _inside_the_protocol(self) -> Self:
        # The ranges of limbic.llm.v1.Sampling. A temperature of 0 would turn chance off, which is the caller's to ask for.
        allowed = {
            "temperature": (0.01, 2.0),
            "top_p": (0.01, 1.0),
            "frequency_penalty": (-2.0, 2.0),
            "presence_penalty": (-2.0, 2.0),
            "max_tokens": (1.0, 8192.0),
        }
        for name, (low, high) in allowed.items():
            parameter: Parameter = getattr(self, name)
            if parameter.low < low or parameter.high > high:
                raise ValueError(f"{name}: low and high must lie in {low:g} to {high:g}")
        return self


class SteeringTable(_Part):
    """The strengths of the control vectors. `base` is what holds at rest."""

    warmth: Parameter
    tension: Parameter
    energy: Parameter

    @model_validator(mode="after")
    def _bearable(self) -> Self:
        for name in type(self).model_fields:
            parameter: Parameter = getattr(self, name)
            if parameter.low < -MAX_STEERING or parameter.high > MAX_STEERING:
                raise ValueError(f"{name}: low and high must lie in {-MAX_STEERING:g} to {MAX_STEERING:g}")
        return self


class Style(_Part):
    """A length plan: `max_tokens` is a ceiling, never a floor. `words` tell the model of it; empty where it need not know."""

    max_tokens: int = Field(ge=1, le=8192)
    words: Annotated[str, Field(max_length=MAX_WORDS_CHARS), AfterValidator(_plain_words)] = ""


class ExpressionTable(_Part):
    """The whole table. Its keys are explained in expression.toml."""

    default_style: str
    most_words: int = Field(ge=1, le=8)
    full_distance: float = Field(gt=0.0, le=100.0)
    mood_shows_from: float = Field(gt=0.0, le=1.0)
    words: HormoneWords
    moods: dict[str, MoodWords]
    sampling: SamplingTable
    steering: SteeringTable
    styles: dict[str, Style]

    @model_validator(mode="after")
    def _default_exists(self) -> Self:
        if self.default_style not in self.styles:
            raise ValueError(f"default_style: no style is called {self.default_style!r}")
        return self


def parse_table(text: str) -> ExpressionTable:
    """Read a table from TOML.

    Raises:
        ExpressionTableError: it is no TOML, a key is unknown or missing, or a value cannot be used.
    """
    try:
        return ExpressionTable.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise ExpressionTableError(f"expression.toml: {error}") from None
    except ValidationError as error:
        problems = (f"{'.'.join(map(str, e['loc'])) or 'the table'}: {e['msg']}" for e in error.errors())
        raise ExpressionTableError(f"expression.toml: {'; '.join(problems)}") from None


def load_table() -> ExpressionTable:
    """Read the table that is shipped.

    Raises:
        ExpressionTableError: it cannot be used.
    """
    return parse_table(resources.files("services.living_llm").joinpath("expression.toml").read_text("utf-8"))


def normalised(value: float, baseline: float, full_distance: float) -> float:
    """Return how far a level stands from its baseline, −1…1: linear up to `full_distance` points, then no further."""
    return math.copysign(min(1.0, abs(value - baseline) / full_distance), value - baseline)
