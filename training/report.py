"""A head's report card: Markdown and JSON with plots beside them, made from `head.json` and one scored split."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.affect_head.window import ContextRule
from training.head import CONFIDENCE_TOLERANCE, PLOT_FILES, REPORT_FILE, SCORES_FILE, Head
from training.markdown import table
from training.measures import AXIS_PAIRS, AXIS_SOURCES
from training.metrics import auc, f1_scores
from training.outputs import AXES, EMOTIONS
from training.plots import plot_archetypes, plot_curves, plot_reliability, plot_types
from training.scoring import Scored

_TYPE_COLUMNS = {
    "MB": "megabytes", "p50 ms": "ms_p50", "p95 ms": "ms_p95", "macro-F1": "goemotions_macro_f1",
    "macro-F1 cross-fit": "goemotions_macro_f1_cross_fit", "EmoBank valence r": "emobank_valence_r",
    "question intimacy r": "question_intimacy_r",
}  # fmt: skip


def write_report(folder: Path, head: Head, scored: Scored) -> None:
    """Write `report.md`, `report.json` and the plots.

    Args:
        folder: the head's folder.
        head: with the metrics of every type measured.
        scored: the development split through the default type.
    """
    curves, reliability, archetypes, types = (folder / name for name in PLOT_FILES)
    plot_curves(head.history, curves)
    plot_reliability(reliability, head.calibration, scored)
    plot_archetypes(archetypes, scored)
    plot_types(types, head.metrics)
    thresholds = np.array(head.calibration.emotion_thresholds, dtype=np.float32)
    emotions, kinds = by_emotion(scored, thresholds), by_archetype(scored)
    scores = {
        "head_id": head.head_id, "default_type": head.default_type, "types": head.metrics, "context": head.context,
        "emotions": emotions, "archetypes": kinds,
    }  # fmt: skip
    (folder / SCORES_FILE).write_text(json.dumps(scores, indent=1) + "\n", encoding="ascii")
    sections = (
        _heading(head), _types(head), _axes(head), _confidence(head), _archetypes(kinds), _context(head),
        _labels(emotions), _training(head),
    )  # fmt: skip
    (folder / REPORT_FILE).write_text("\n\n".join(sections) + "\n", encoding="utf-8")


def by_emotion(scored: Scored, thresholds: NDArray[np.floating]) -> dict[str, dict[str, float]]:
    """Return for each emotion its rows, threshold, F1 and AUC."""
    f1 = f1_scores(scored.probabilities >= thresholds, scored.emotions)
    return {
        label: {
            "rows": float(scored.emotions[:, index].sum()),
            "threshold": round(float(thresholds[index]), 4),
            "f1": round(float(f1[index]), 4),
            "auc": round(auc(scored.probabilities[:, index], scored.emotions[:, index]), 4),
        }
        for index, label in enumerate(EMOTIONS)
    }


def by_archetype(scored: Scored) -> dict[str, dict[str, Any]]:
    """Return for each archetype its rows, and by axis the mean label, the mean reading and the mean absolute error."""
    result: dict[str, dict[str, Any]] = {}
    for name in sorted(set(scored.archetypes.tolist()) - {""}):
        chosen = scored.archetypes == name
        labels, predicted = scored.axes[chosen], scored.predicted[chosen]
        result[name] = {"rows": int(chosen.sum())} | {
            axis: {
                "label": round(float(labels[:, index].mean()), 4),
                "reading": round(float(predicted[:, index].mean()), 4),
                "mae": round(float(np.abs(predicted - labels)[:, index].mean()), 4),
            }
            for index, axis in enumerate(AXES)
        }
    return result


def _heading(head: Head) -> str:
    return (
        f"# Report card: {head.head_id}\n\n"
        "Measured through llama.cpp on the development splits by `python -m training evaluate`. Deviations and "
        "confidence are fitted on these same splits, so their plain figures are a little optimistic; *cross-fit* "
        "takes what is fitted from one half of the rows and scores the other. Of the "
        f"{head.tokenization['texts']:,} texts of the data set, llama.cpp cuts {head.tokenization['differing']:,} into "
        "other tokens than the base's own tokenizer. The same numbers and more are in `report.json`."
    )


def _types(head: Head) -> str:
    rows = []
    for kind, values in head.metrics.items():
        name = f"**{kind}** (default)" if kind == head.default_type else kind
        cells = [values[key] for key in _TYPE_COLUMNS.values()]
        areas = " / ".join(f"{values[f'probes_{axis}_auc']:.3f}" for axis in AXES)
        rows.append([name, *cells, areas])
    return (
        "## Quality, size and speed by weight type\n\nLatency is of one text of 20 tokens on one thread, on the "
        "machine of the run; compare within the table. Q4_8 is Q4_0 with the attention's values and the first "
        "feed-forward matrices in Q8_0.\n\n" + table(["type", *_TYPE_COLUMNS, "probes v/i/t AUC"], rows)
        + "\n\n![Quality, size and speed](types.png)"
    )  # fmt: skip


def _axes(head: Head) -> str:
    values = head.metrics[head.default_type]
    axes = [[axis, *(values[f"probes_{axis}_{key}"] for key in ("r", "auc", "mae"))] for axis in AXES]
    public = [
        ["EmoBank, valence", values["emobank_valence_r"], values["emobank_valence_mae"]],
        ["question intimacy", values["question_intimacy_r"], values["question_intimacy_intimacy_mae"]],
    ]
    pairs = []
    for first, second in AXIS_PAIRS:
        pair = f"{AXES[first]}_{AXES[second]}"
        label, found = values[f"probes_label_r_{pair}"], values[f"probes_predicted_r_{pair}"]
        pairs.append([pair.replace("_", ", "), label, found, abs(label - found)])
    return (
        "## Axes on the held-out probes\n\n" + table(["axis", "r", "AUC of the sign", "MAE"], axes)
        + "\n\nCorrelation between axes, of the labels and of what is predicted:\n\n"
        + table(["axes", "labels", "predicted", "apart"], pairs)
        + "\n\nOn the published sets:\n\n" + table(["set", "r", "MAE"], public)
    )  # fmt: skip


def _confidence(head: Head) -> str:
    values = head.metrics[head.default_type]
    rows = []
    for axis in AXES:
        for source in ("", *AXIS_SOURCES[axis]):
            key = f"ece_{axis}" + (f"_{source}" if source else "")
            means = [
                values[f"{source}_{axis}_{name}"] if source else "" for name in ("mean_confidence", "within_tolerance")
            ]
            cells = (values[key], *(values[f"{key}_{kind}"] for kind in ("cross_fit", "chance", "debiased")))
            rows.append([axis, source or "all rows", *means, *cells])
    return (
        f"## Confidence\n\nHow likely a reading is within {CONFIDENCE_TOLERANCE} of what people said. ECE is the "
        "expected calibration error over ten bins of equal size; *by chance* is the error that the same confidences "
        "would show on as few rows if they were exactly right, below which no head can be told from a perfect one. "
        "*Debiased* is the root mean square of the cross-fit gaps with the part of chance taken out (Kumar et al., 2019).\n\n"
        + table(["axis", "rows", "mean confidence", f"within {CONFIDENCE_TOLERANCE}", "ECE", "ECE cross-fit",
                 "ECE by chance", "debiased RMS"], rows)
        + "\n\n![Reliability of the confidence](reliability.png)"
    )  # fmt: skip


def _archetypes(kinds: dict[str, dict[str, Any]]) -> str:
    rows = []
    for name, values in kinds.items():
        cells = [f"{values[a]['label']:+.2f} / {values[a]['reading']:+.2f} / {values[a]['mae']:.2f}" for a in AXES]
        rows.append([name, values["rows"], *cells])
    return "## By archetype\n\nMean label / mean reading / MAE of the held-out probes.\n\n" + table(
        ["archetype", "rows", *AXES], rows
    ) + "\n\n![Labels and readings by archetype](archetypes.png)"  # fmt: skip


def _context(head: Head) -> str:
    values = head.context
    rows = [
        [axis, int(values[f"{axis}_telling"]), values[f"{axis}_right"], values[f"{axis}_mae_without"],
         values[f"{axis}_mae"]]
        for axis in AXES
    ]  # fmt: skip
    unrelated = [
        [axis, int(values[f"unrelated_{axis}_rows"]), values[f"unrelated_{axis}_mae_without"],
         values[f"unrelated_{axis}_mae"]]
        for axis in AXES
    ]  # fmt: skip
    return (
        f"## Context\n\n{_rule(head.context_rule)}\n\n{int(values['pairs'])} pairs of the same words after two different turns, "
        f"of which {int(values['pairs_read'])} are short enough to be read with them; the figures are of these. *Right* is the "
        "share of the telling pairs (labels at least 0.4 apart) whose readings differ in the labels' direction when "
        "the turn is given; without it they cannot differ, which is a coin's 0.5.\n\n"
        + table(["axis", "telling pairs", "right", "MAE without context", "MAE with it"], rows)
        + "\n\nA turn that has nothing to do with the words (a line of film dialogue), before each development row that is "
        "read with one:\n\n" + table(["axis", "rows", "MAE without context", "MAE with it"], unrelated)
    )


def _rule(rule: ContextRule | None) -> str:
    if rule is None:
        return "The served head reads no earlier turn."
    return (
        f"Words of up to {rule.text_tokens} tokens are read together with the last turn before them, if that has up to "
        f"{rule.turn_tokens}; all others are read alone. The reading says whether a turn was read."
    )


def _labels(emotions: dict[str, dict[str, float]]) -> str:
    rows = [[label, int(v["rows"]), v["threshold"], v["f1"], v["auc"]] for label, v in emotions.items()]
    return "## By emotion\n\n" + table(["emotion", "rows", "threshold", "F1", "AUC"], rows)


def _teachers(head: Head) -> str:
    """Return a sentence on who rated what no person did; a mean of runs has a list of teachers, or of none."""
    given = head.provenance.get("teacher")
    ids = sorted({teacher["id"] for teacher in (given if isinstance(given, list) else [given]) if teacher})
    return (
        f" Axes that nobody rated were rated by a teacher ({', '.join(f'`teacher:{id}`' for id in ids)})."
        if ids
        else ""
    )


def _training(head: Head) -> str:
    sources = [
        [source[key] for key in ("name", "train", "dev", "licence", "citation")]
        for source in head.provenance["sources"]
    ]
    recipe = [[name, f"`{value}`"] for name, value in head.provenance["recipe"].items()]
    return (
        "## Trained on\n\n" + table(["source", "train rows", "dev rows", "licence", "from"], sources)
        + f"\n\nBase: {head.provenance['base']}.{_teachers(head)}\n\n" + table(["recipe", "value"], recipe)
        + "\n\n![Training curves](curves.png)"
    )  # fmt: skip
