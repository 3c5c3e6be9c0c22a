"""Score a finished head on any file in a published set's own form, such as a test split: nothing is fitted on it."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from training.base import base_folder
from training.calibration import calibration_error, calibration_error_of_chance, judged
from training.errors import DataError, ModelError
from training.export import assemble
from training.generative.record import is_generative
from training.gguf_file import WeightType, write_gguf
from training.head import Calibration, load_head
from training.markdown import table
from training.measures import axis_correlations
from training.metrics import auc, f1_scores, pearson
from training.outputs import AXES
from training.reading import read_rows_with
from training.report import by_archetype, by_emotion
from training.rows import Row
from training.scoring import SIGN_MARGIN, Scored, Scorer, score
from training.sources import read_emobank, read_goemotions, read_probes, read_question_intimacy


@dataclass(frozen=True, slots=True)
class PublishedFiles:
    """The files to score on; None for a set that is not given."""

    goemotions: Path | None = None
    """`text TAB label ids TAB comment id`."""
    emobank: Path | None = None
    """CSV with `id, V, A, D, text`."""
    question_intimacy: Path | None = None
    """`text TAB score`."""
    archetypes: Path | None = None
    """JSON lines with `text`, `archetype`, `valence`, `intimacy` and `tension`."""

    def rows(self) -> dict[str, list[Row]]:
        """Read every given file, all of its rows, by the set's name.

        Raises:
            DataError: if a file is missing, empty, or not in its set's form.
        """
        readers = {
            "goemotions": read_goemotions, "emobank": read_emobank, "question_intimacy": read_question_intimacy,
            "archetypes": read_probes,
        }  # fmt: skip
        found = {}
        for name, read in readers.items():
            path: Path | None = getattr(self, name)
            if path is not None:
                if not path.is_file():
                    raise DataError(f"{path} is missing.")
                found[name] = list(_labelled(name, read(path, path.name)))
                if not found[name]:
                    raise DataError(f"{path} holds no rows.")
        return found


def _labelled(name: str, rows: Iterator[Row]) -> Iterator[Row]:
    for row in rows:
        if name == "archetypes" and not row.archetype:
            raise DataError(f"{row.provenance[0]} names no archetype.")
        yield row


def score_published(
    folder: Path, files: PublishedFiles, weights: WeightType | None, workers: int
) -> dict[str, dict[str, Any]]:
    """Return the figures of a head on each given file, with the thresholds and the calibration that it came with.

    Args:
        folder: the head's folder.
        files: what to score on.
        weights: the type of its matrices; the head's own default if None.
        workers: how many texts are read at once, each on one thread.

    Raises:
        DataError: if a file does not read as its set does.
        ModelError: if the folder holds no calibrated head, or no file is given.
    """
    sets = files.rows()
    if not sets:
        raise ModelError("There is nothing to score on: name at least one file.")
    with tempfile.TemporaryDirectory() as scratch:
        if is_generative(folder):
            if files.goemotions:
                raise ModelError(
                    f"{folder} is a generative head, which tells no emotions: leave the GoEmotions file out."
                )
            # The other kind of head needs much less.
            from training.generative.evaluate import generative_scorer

            scorer = generative_scorer(folder, Path(scratch), weights, workers)
        else:
            scorer = _encoder_scorer(folder, Path(scratch), weights, workers)
        result: dict[str, dict[str, Any]] = {"head": {"head_id": scorer.head_id, "type": scorer.weights}}
        for name, rows in sets.items():
            result[name] = {"rows": len(rows)} | _FIGURES[name](scorer.score(rows), scorer.calibration)
    return result


def _encoder_scorer(folder: Path, scratch: Path, weights: WeightType | None, workers: int) -> Scorer:
    head = load_head(folder)
    chosen = weights or head.default_type
    path = scratch / "head.gguf"
    write_gguf(path, assemble(folder, head, base_folder()), chosen)
    return Scorer(
        head.head_id,
        chosen,
        head.calibration,
        lambda rows: score(read_rows_with(path, rows, head.max_tokens, workers), rows),
    )


def _goemotions(scored: Scored, calibration: Calibration) -> dict[str, Any]:
    thresholds = np.array(calibration.emotion_thresholds, dtype=np.float32)
    predicted = scored.probabilities >= thresholds
    return {
        "macro_f1": float(f1_scores(predicted, scored.emotions).mean()),
        "emotions": by_emotion(scored, thresholds),
    }


def _one_axis(axis: int, scored: Scored, calibration: Calibration) -> dict[str, Any]:
    confidence, right, _ = judged(scored, axis, calibration)
    predicted, labels = scored.predicted[:, axis], scored.axes[:, axis]
    return {
        "r": pearson(predicted, labels),
        "mae": float(np.abs(predicted - labels).mean()),
        "mean_confidence": float(confidence.mean()),
        "within_tolerance": float(right.mean()),
        "ece": calibration_error(confidence, right),
        "ece_by_chance": calibration_error_of_chance(confidence),
    }


def _archetypes(scored: Scored, calibration: Calibration) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for axis, name in enumerate(AXES):
        signed = np.abs(scored.axes[:, axis]) > SIGN_MARGIN
        result[f"{name}_auc"] = auc(scored.predicted[signed, axis], scored.axes[signed, axis] > 0)
        result[f"{name}_r"] = pearson(scored.predicted[:, axis], scored.axes[:, axis])
        result[f"{name}_mae"] = float(np.abs(scored.predicted[:, axis] - scored.axes[:, axis]).mean())
    correlations = axis_correlations(scored, scored.sources[0])
    result |= {name.removeprefix(f"{scored.sources[0]}_"): value for name, value in correlations.items()}
    return result | {"archetypes": by_archetype(scored)}


_FIGURES = {
    "goemotions": _goemotions,
    "emobank": lambda scored, calibration: _one_axis(0, scored, calibration),
    "question_intimacy": lambda scored, calibration: _one_axis(1, scored, calibration),
    "archetypes": _archetypes,
}


def as_markdown(figures: dict[str, dict[str, Any]]) -> str:
    """Return the figures as Markdown: one table of single numbers a set, then those by emotion or archetype."""
    parts = [f"# {figures['head']['head_id']} at {figures['head']['type']}"]
    for name, values in figures.items():
        if name == "head":
            continue
        parts.append(f"## {name}")
        parts.append(table(["figure", "value"], [(k, v) for k, v in values.items() if not isinstance(v, dict)]))
        if "emotions" in values:
            rows = [[label, *(v[key] for key in ("rows", "f1", "auc"))] for label, v in values["emotions"].items()]
            parts.append(table(["emotion", "rows", "F1", "AUC"], rows))
        if "archetypes" in values:
            rows = [
                [kind, v["rows"], *(f"{v[a]['label']:+.2f} / {v[a]['reading']:+.2f} / {v[a]['mae']:.2f}" for a in AXES)]
                for kind, v in values["archetypes"].items()
            ]
            parts.append(table(["archetype", "rows", *(f"{axis}: label / reading / MAE" for axis in AXES)], rows))
    return "\n\n".join(parts) + "\n"


def save_figures(path: Path, figures: dict[str, dict[str, Any]]) -> None:
    """Write the figures as JSON."""
    path.write_text(json.dumps(figures, indent=1) + "\n", encoding="ascii")
