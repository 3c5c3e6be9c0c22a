"""Move a measured head into the repository, if it is good enough."""

from __future__ import annotations

import shutil
from pathlib import Path

from training.adapter import ADAPTER_FILE
from training.errors import ModelError
from training.head import HEAD_FILE, PLOT_FILES, REPORT_FILE, SCORES_FILE, load_head

MINIMUM = {
    "goemotions_macro_f1": 0.53,
    "emobank_valence_r": 0.71,
    "question_intimacy_r": 0.83,
    "probes_valence_auc": 0.85,
    "probes_intimacy_auc": 0.85,
    "probes_tension_auc": 0.85,
}
"""What the default type must reach on the development splits."""

MAXIMUM = {"ece_valence_cross_fit": 0.05, "ece_intimacy_cross_fit": 0.05}
"""What it must stay below."""

WORST_CALIBRATION = 0.05
"""How far an axis's cross-fit calibration error may lie above what chance puts into so few rows: tension is rated for the
held-out probes alone, 325 of them, among which confidences that are exactly right show an error of 0.06."""
CALIBRATED = ("valence", "intimacy", "tension")

WORST_LOSS = 0.005
"""How far below F32 the default type may lie in `COMPARED`."""
COMPARED = (
    "goemotions_macro_f1_cross_fit", "emobank_valence_r", "question_intimacy_r",
    "probes_valence_auc", "probes_intimacy_auc", "probes_tension_auc",
)  # fmt: skip

WORST_COUPLING = 0.15
"""How far the correlation between two predicted axes may lie from that between their labels, on the probes."""
COUPLINGS = ("valence_intimacy", "valence_tension", "intimacy_tension")

COMMITTED = (ADAPTER_FILE, HEAD_FILE, REPORT_FILE, SCORES_FILE, *PLOT_FILES)


def missed_gates(scores: dict[str, float], full: dict[str, float]) -> list[str]:
    """Return a phrase for every gate that a head misses.

    Args:
        scores: of the default type.
        full: of F32.
    """
    missed = [f"{name} {scores[name]:.3f} (needs {least})" for name, least in MINIMUM.items() if scores[name] < least]
    missed += [f"{name} {scores[name]:.3f} (at most {most})" for name, most in MAXIMUM.items() if scores[name] > most]
    for axis in CALIBRATED:
        excess = scores[f"ece_{axis}_cross_fit"] - scores[f"ece_{axis}_chance"]
        if excess > WORST_CALIBRATION:
            missed.append(f"{axis}'s calibration error {excess:.3f} above chance (at most {WORST_CALIBRATION})")
    for name in COMPARED:
        if (loss := full[name] - scores[name]) > WORST_LOSS:
            missed.append(f"{name} {loss:.4f} below F32 (at most {WORST_LOSS})")
    for pair in COUPLINGS:
        apart = abs(scores[f"probes_predicted_r_{pair}"] - scores[f"probes_label_r_{pair}"])
        if apart > WORST_COUPLING:
            missed.append(f"{pair.replace('_', ' and ')} correlate {apart:.3f} otherwise than their labels")
    return missed


def promote(run: Path, heads: Path) -> Path:
    """Copy a run's head into the folder of committed heads and return where it went.

    Raises:
        ModelError: if the run was not evaluated, or misses a gate.
    """
    head = load_head(run)
    scores, full = (head.metrics.get(kind) for kind in (head.default_type, "F32"))
    if scores is None or full is None:
        raise ModelError(f"{run} was not evaluated at {head.default_type}; run `python -m training evaluate` first.")
    if missed := missed_gates(scores, full):
        raise ModelError(f"{run} misses {', '.join(missed)}.")
    target = heads / head.head_id
    target.mkdir(parents=True, exist_ok=True)
    for name in COMMITTED:
        shutil.copyfile(run / name, target / name)
    return target
