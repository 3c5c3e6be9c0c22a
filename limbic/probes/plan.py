"""How a suite is to be run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from limbic.probes.gates import Gates
from limbic.probes.system import Targets


@dataclass(frozen=True, slots=True)
class Plan:
    """How a suite is to be run.

    Attributes:
        targets: where the system's services are.
        temperament: of the sessions; empty for the system's default.
        seed: of everything that is drawn.
        gates: what must be reached.
        gates_text: the gates' file, for the result's hash.
        window_s: the gateway's affect window, for the latency suite.
        models: where the sentence encoder's file lies, or is put.
        keep: leave the sessions in the journal.
    """

    targets: Targets
    temperament: str
    seed: int
    gates: Gates
    gates_text: str
    window_s: float
    models: Path
    keep: bool
