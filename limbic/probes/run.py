"""What all suites share when they run: their sessions, their progress, and how what they found becomes a result."""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from limbic.probes.gates import Gates, verdicts
from limbic.probes.result import Miss, Result, Running
from limbic.probes.script import suite_text
from limbic.probes.system import System
from limbic.state.v1 import state_pb2

Progress = Callable[[str, int], Callable[[], None]]
"""Told what begins and how many steps it has, it returns what is to be called after each step."""


@dataclass(frozen=True, slots=True)
class Found:
    """What a suite found: its figures, what did not come true, and what its report is made from."""

    figures: Mapping[str, float]
    misses: Sequence[Miss] = ()
    detail: Mapping[str, Any] = field(default_factory=dict)


class Scope:
    """The sessions of one run. Each is deleted when it has been judged, since nobody ever said what is in it.

    Args:
        system: where they are.
        temperament: theirs; empty for the system's default.
        seed: of everything that the run draws.
        keep: leave them in the journal, to look at with `limbic explain` and `limbic replay`.
    """

    def __init__(self, system: System, temperament: str, seed: int, *, keep: bool) -> None:
        self._system = system
        self._temperament = temperament
        self._keep = keep
        self._run = f"probe-{secrets.token_hex(4)}"
        self.seed = seed
        self.first: state_pb2.Session | None = None

    @asynccontextmanager
    async def session(self, name: str) -> AsyncIterator[str]:
        """Open a session for the length of a block, and yield its id.

        Raises:
            CallError: the engine cannot be reached, or knows no such temperament.
        """
        session = await self._system.open(f"{self._run}.{name}", self._temperament)
        self.first = self.first or session
        try:
            yield session.session_id
        finally:
            if not self._keep:
                await self._system.delete(session.session_id)


class Clocked:
    """When a run began, and how long it took."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self.started_at = datetime.now(UTC).isoformat(timespec="seconds")

    @property
    def duration_s(self) -> float:
        """Seconds since the beginning."""
        return round(time.monotonic() - self._began, 1)


def concluded(suite: str, clocked: Clocked, running: Running, found: Found, gates: Gates) -> Result:
    """Hold what was found against the gates."""
    return Result(
        suite=suite,
        started_at=clocked.started_at,
        duration_s=clocked.duration_s,
        running=running,
        figures=found.figures,
        verdicts=verdicts(gates.by_suite[suite], found.figures),
        misses=found.misses,
        detail=found.detail,
    )


def suite_sha256(files: Sequence[str], gates_text: str) -> str:
    """Return the SHA-256 over a suite's files and the gates: another suite measures something else."""
    digest = hashlib.sha256()
    for text in (*(suite_text(name) for name in files), gates_text):
        digest.update(hashlib.sha256(text.encode()).digest())
    return digest.hexdigest()
