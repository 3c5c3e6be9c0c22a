"""Which law a program on a machine really follows: a digest that differs wherever a fold could have other bits.

The text of a temperament is not all of it. A later version of this program may appraise a reading otherwise, and another release of NumPy
or another processor may round the last bit otherwise. So the digest is made from results: of impulses, and of states that were advanced.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache
from itertools import product
from typing import Final

from services.state_engine.causes import Cause, Emotions, Event, Reading
from services.state_engine.temperament import Temperament

_VALUES: Final = (-0.83, -0.31, 0.47, 1.0)
_SECONDS: Final = (0.1, 7.3, 311.7, 5_003.1, 86_399.9, 1e7)


@lru_cache(maxsize=64)
def law_digest(temperament: Temperament) -> str:
    """Return the digest of a temperament's law, lower-case hexadecimal."""
    digest = hashlib.sha256(temperament.digest.encode())
    state = temperament.dynamics.rest()
    for number, cause in enumerate(_causes(temperament)):
        impulse = temperament.impulse(cause)
        state = temperament.dynamics.advance(state, _SECONDS[number % len(_SECONDS)]) + impulse
        digest.update(impulse.tobytes())
        digest.update(state.tobytes())
    return digest.hexdigest()


def _causes(temperament: Temperament) -> list[Cause]:
    known = temperament.appraisal
    axes = [Reading(*values, 0.71) for values in product(_VALUES, _VALUES, _VALUES)]
    felt = [Reading(0.0, 0.0, 0.0, 0.9, emotions=Emotions((one,), (0.37,), (True,))) for one in known.emotions]
    return [*axes, *felt, *(Event(name, 0.61) for name in known.events)]
