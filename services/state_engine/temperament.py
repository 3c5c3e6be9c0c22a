"""A temperament: every number that makes one character feel differently from another, read from TOML and checked.

What a file holds stands in `temperaments/default.toml`, beside its numbers. A temperament is identified by the SHA-256 of its text; a
session keeps the text it began with, so that editing a file never changes what was felt.
"""

from __future__ import annotations

import hashlib
import math
import tomllib
from dataclasses import dataclass
from typing import Annotated, Final

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from services.state_engine.appraisal import HALVES, Appraisal, Gains, split
from services.state_engine.causes import Cause
from services.state_engine.dynamics import Dynamics, UnsettledError, Vector
from services.state_engine.readout import Bands, Readout

HORMONES: Final = ("dopamine", "serotonin", "cortisol", "oxytocin", "noradrenaline")

Seconds = Annotated[float, Field(ge=1.0, le=90 * 86_400.0)]
Gain = Annotated[float, Field(ge=-50.0, le=50.0)]
Share = Annotated[float, Field(ge=-2.0, le=2.0)]
Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,31}$")]


class TemperamentError(Exception):
    """A temperament that cannot be used.

    Attributes:
        origin: the file.
        key: the dotted path of what is wrong.
        reason: what is wrong with it.
    """

    def __init__(self, origin: str, key: str, reason: str) -> None:
        super().__init__(f"{origin}: {key}: {reason}")
        self.origin = origin
        self.key = key
        self.reason = reason


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class HormoneTable(_Table):
    """Where a hormone rests and how fast it comes back from above and from below."""

    baseline: Annotated[float, Field(ge=1.0, le=99.0)]
    rise_half_life_s: Seconds
    fall_half_life_s: Seconds


class HormonesTable(_Table):
    """All five hormones."""

    dopamine: HormoneTable
    serotonin: HormoneTable
    cortisol: HormoneTable
    oxytocin: HormoneTable
    noradrenaline: HormoneTable


class GainTable(_Table):
    """What one thing does to each hormone, in level units. What is not named is not moved."""

    dopamine: Gain = 0.0
    serotonin: Gain = 0.0
    cortisol: Gain = 0.0
    oxytocin: Gain = 0.0
    noradrenaline: Gain = 0.0

    def gains(self) -> Gains:
        """Return them in the order of HORMONES."""
        return tuple(float(getattr(self, name)) for name in HORMONES)


class HalfTable(GainTable):
    """What one half of an axis does; `quiet` is up to where a reading is everyday talk and moves nothing."""

    quiet: Annotated[float, Field(ge=0.0, le=0.9)] = 0.0


class FeedTable(_Table):
    """Which share of each hormone's distance from its baseline flows into a mood as it fades."""

    dopamine: Share = 0.0
    serotonin: Share = 0.0
    cortisol: Share = 0.0
    oxytocin: Share = 0.0
    noradrenaline: Share = 0.0


class MoodTable(_Table):
    """How long a mood lasts, how much of it is a full one, and what feeds it."""

    half_life_s: Seconds
    scale: Annotated[float, Field(ge=1.0, le=1_000.0)]
    fed_by: FeedTable


class AdaptationTable(_Table):
    """How a flood is bounded: by how much more slowly the exposure fades, and the ceilings 1/κ of the read-outs."""

    slowness: Annotated[float, Field(ge=1.1, le=10.0)]
    hormone_ceiling: Annotated[float, Field(ge=5.0, le=200.0)]
    mood_ceiling: Annotated[float, Field(ge=5.0, le=1_000.0)]


class BandsTable(_Table):
    """Distances from the baseline at which a level is rising or fading, and surging or crashing."""

    near: Annotated[float, Field(gt=0.0, le=50.0)]
    far: Annotated[float, Field(gt=0.0, le=50.0)]


class AppraisalTable(_Table):
    """What each half axis does at 1 and full confidence."""

    valence_positive: HalfTable
    valence_negative: HalfTable
    intimacy_positive: HalfTable
    intimacy_negative: HalfTable
    tension_positive: HalfTable
    tension_negative: HalfTable


class TemperamentTable(_Table):
    """A whole file."""

    description: Annotated[str, StringConstraints(min_length=1, max_length=500)]
    hormones: HormonesTable
    moods: Annotated[dict[Name, MoodTable], Field(min_length=1, max_length=16)]
    couplings: dict[str, dict[str, Share]] = {}
    adaptation: AdaptationTable
    bands: BandsTable
    appraisal: AppraisalTable
    emotions: Annotated[dict[Name, GainTable], Field(max_length=64)] = {}
    events: Annotated[dict[Name, GainTable], Field(max_length=64)]


@dataclass(frozen=True, slots=True)
class Temperament:
    """A checked temperament, ready to use.

    Attributes:
        name: its name, which is its file's.
        text: the TOML that it was read from.
        digest: SHA-256 of the text, lower-case hexadecimal.
        dynamics: how its states move.
        appraisal: what stimuli do.
        readout: what is seen of a state.
    """

    name: str
    text: str
    digest: str
    dynamics: Dynamics
    appraisal: Appraisal
    readout: Readout

    def impulse(self, cause: Cause) -> Vector:
        """Return what a stimulus adds to a state, shape (2n,).

        Raises:
            UnknownEventError: an event that this temperament does not name.
        """
        latent = split(self.appraisal.hormones(cause), self.dynamics.size)
        # `Dynamics.impulse` of it, which holds no negative number, at half the price.
        return np.array(latent + latent)


def parse_temperament(name: str, text: str, origin: str) -> Temperament:
    """Read a temperament from TOML. `origin` is the file's name, for refusals.

    Raises:
        TemperamentError: no TOML, unknown or missing keys, absurd numbers, or couplings under which it would not settle.
    """
    try:
        table = TemperamentTable.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise TemperamentError(origin, "(file)", f"is no TOML: {error}") from None
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(str(part) for part in first["loc"] if part != "[key]") or "(file)"
        raise TemperamentError(origin, key, _reason(first["type"], first["msg"])) from None
    if table.bands.far <= table.bands.near:
        raise TemperamentError(origin, "bands.far", "must be larger than bands.near")
    try:
        dynamics = _dynamics(table, origin)
    except UnsettledError as error:
        raise TemperamentError(origin, "couplings", str(error)) from None
    ceilings = np.full(dynamics.size, table.adaptation.hormone_ceiling)
    ceilings[2 * len(HORMONES) :] = table.adaptation.mood_ceiling
    return Temperament(
        name=name,
        text=text,
        digest=hashlib.sha256(text.encode()).hexdigest(),
        dynamics=dynamics,
        appraisal=Appraisal(
            [getattr(table.appraisal, half).gains() for half in HALVES],
            [getattr(table.appraisal, half).quiet for half in HALVES],
            {label: emotion.gains() for label, emotion in table.emotions.items()},
            {name: event.gains() for name, event in table.events.items()},
        ),
        readout=Readout(
            [(hormone, getattr(table.hormones, hormone).baseline) for hormone in HORMONES],
            [(mood, spec.scale) for mood, spec in table.moods.items()],
            ceilings,
            Bands(table.bands.near, table.bands.far),
        ),
    )


def _reason(kind: str, message: str) -> str:
    known = {"missing": "is missing", "extra_forbidden": "is not a key of a temperament"}
    return known.get(kind, message[0].lower() + message[1:])


def _dynamics(table: TemperamentTable, origin: str) -> Dynamics:
    fast = [f"{hormone}.{side}" for hormone in HORMONES for side in ("rise", "fall")]
    channels = [*fast, *table.moods]
    half_lives = [
        getattr(getattr(table.hormones, hormone), f"{side}_half_life_s") for hormone, side in map(_halves, fast)
    ]
    half_lives += [mood.half_life_s for mood in table.moods.values()]
    decay = math.log(2.0) / np.array(half_lives)
    rates = np.diag(-decay)
    # Of what leaves the source, a share arrives at the target: hence the source's rate.
    for row, mood in enumerate(table.moods.values(), start=len(fast)):
        for column, channel in enumerate(fast):
            hormone, side = _halves(channel)
            share = getattr(mood.fed_by, hormone)
            rates[row, column] = (share if side == "rise" else -share) * decay[column]
    for source, targets in table.couplings.items():
        for target, share in targets.items():
            key = f"couplings.{source}.{target}"
            for end in (source, target):
                if end not in fast:
                    raise TemperamentError(origin, key, f"{end} is no channel; there are {', '.join(fast)}")
            if source == target:
                raise TemperamentError(origin, key, "a channel cannot feed itself")
            rates[fast.index(target), fast.index(source)] = share * decay[fast.index(source)]
    return Dynamics(channels, rates, table.adaptation.slowness)


def _halves(channel: str) -> tuple[str, str]:
    hormone, _, side = channel.partition(".")
    return hormone, side
