"""What a check of `limbic doctor` comes to."""

from __future__ import annotations

from dataclasses import dataclass

ANSWER_S = 2.0
"""How long a check waits for an answer."""


@dataclass(frozen=True, slots=True)
class Check:
    """What one check found.

    Attributes:
        name: what was checked.
        ok: whether it is as it should be.
        detail: what was found.
        remedy: what to do; empty where it is well. Beside `ok` it is a warning.
    """

    name: str
    ok: bool
    detail: str
    remedy: str = ""
