"""A head's report card: Markdown with its plots beside it, made from `head.json` and one scored split."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from training.calibration import judged, reliability
from training.curves import plot_curves
from training.head import CONFIDENCE_TOLERANCE, PLOT_FILES, REPORT_FILE, Head
from training.metrics import auc, f1_scores
from training.outputs import AXES, EMOTIONS
from training.scoring import Scored


def write_report(folder: Path, head: Head, scored: Scored) -> None:
    """Write `report.md` and its plots.

    Args:
        folder: the head's folder.
        head: with the metrics of every type measured.
        scored: the development split through the default type.
    """
    plot_curves(head.history, folder / PLOT_FILES[0])
    _plot_reliability(folder / PLOT_FILES[1], head, scored)
    _plot_archetypes(folder / PLOT_FILES[2], scored)
    sections = (_heading(head), _types(head), _axes(head), _archetypes(scored), _labels(head, scored), _training(head))
    (folder / REPORT_FILE).write_text("\n\n".join(sections) + "\n", encoding="utf-8")


def _table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(_cell(value) for value in line) + " |" for line in lines)


def _cell(value: object) -> str:
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def _heading(head: Head) -> str:
    return (
        f"# Report card: {head.head_id}\n\n"
        "Measured through llama.cpp on the development splits by `python -m training evaluate`. Thresholds and the "
        "deviations' scale are fitted on these same splits, so the plain figures are a little optimistic; *cross-fit* "
        "takes them from one half of the rows and scores the other. Of the "
        f"{head.tokenization['texts']:,} texts of the data set, llama.cpp cuts {head.tokenization['differing']:,} into "
        "other tokens than the base's own tokenizer."
    )


def _types(head: Head) -> str:
    columns = {
        "MB": "megabytes", "p50 ms": "ms_p50", "p95 ms": "ms_p95", "macro-F1": "goemotions_macro_f1",
        "macro-F1 cross-fit": "goemotions_macro_f1_cross_fit", "EmoBank valence r": "emobank_valence_r",
        "question intimacy r": "question_intimacy_r", "probes v/i/t AUC": "",
    }  # fmt: skip
    rows = []
    for kind, values in head.metrics.items():
        name = f"**{kind}** (default)" if kind == head.default_type else kind
        cells = [values[key] for key in columns.values() if key]
        areas = " / ".join(f"{values[f'probes_{axis}_auc']:.3f}" for axis in AXES)
        rows.append([name, *cells, areas])
    return (
        "## Quality, size and speed by weight type\n\nLatency is of one text of 20 tokens on one thread, on the "
        "machine of the run; compare within the table.\n\n" + _table(["type", *columns], rows)
    )


def _axes(head: Head) -> str:
    values = head.metrics[head.default_type]
    held_out = ("r", "auc", "mae", "within_tolerance", "mean_confidence")
    axes = [
        [
            axis,
            *(values[f"probes_{axis}_{key}"] for key in held_out),
            values[f"ece_{axis}"],
            values[f"ece_{axis}_cross_fit"],
        ]
        for axis in AXES
    ]
    pairs = [
        [pair.replace("_", ", "), values[f"probes_label_r_{pair}"], values[f"probes_predicted_r_{pair}"]]
        for pair in ("valence_intimacy", "valence_tension", "intimacy_tension")
    ]
    return (
        "## Axes on the held-out probes\n\n"
        + _table(
            ["axis", "r", "AUC of the sign", "MAE", f"within {CONFIDENCE_TOLERANCE}", "mean confidence", "ECE, all rows",
             "ECE cross-fit"],
            axes,
        )
        + "\n\nCorrelation between axes, of the labels and of what is predicted:\n\n"
        + _table(["axes", "labels", "predicted"], pairs)
        + "\n\n![Reliability of the confidence](reliability.png)"
    )  # fmt: skip


def _archetypes(scored: Scored) -> str:
    rows = []
    for name in sorted(set(scored.archetypes.tolist()) - {""}):
        chosen = scored.archetypes == name
        labels, predicted = scored.axes[chosen], scored.predicted[chosen]
        cells = [f"{a:+.2f} / {b:+.2f}" for a, b in zip(labels.mean(0), predicted.mean(0), strict=True)]
        rows.append([name, int(chosen.sum()), *cells, float(np.abs(predicted - labels).mean())])
    return "## By archetype\n\nMean label / mean reading of the held-out probes.\n\n" + _table(
        ["archetype", "rows", *AXES, "MAE"], rows
    ) + "\n\n![Labels and readings by archetype](archetypes.png)"  # fmt: skip


def _labels(head: Head, scored: Scored) -> str:
    thresholds = np.array(head.calibration.emotion_thresholds, dtype=np.float32)
    f1 = f1_scores(scored.probabilities >= thresholds, scored.emotions)
    rows = [
        [label, int(scored.emotions[:, i].sum()), float(thresholds[i]), float(f1[i]),
         auc(scored.probabilities[:, i], scored.emotions[:, i])]
        for i, label in enumerate(EMOTIONS)
    ]  # fmt: skip
    return "## By emotion\n\n" + _table(["emotion", "rows", "threshold", "F1", "AUC"], rows)


def _training(head: Head) -> str:
    sources = [
        [source[key] for key in ("name", "train", "dev", "licence", "citation")]
        for source in head.provenance["sources"]
    ]
    recipe = [[name, f"`{value}`"] for name, value in head.provenance["recipe"].items()]
    return (
        "## Trained on\n\n" + _table(["source", "train rows", "dev rows", "licence", "from"], sources)
        + f"\n\nBase: {head.provenance['base']}.\n\n" + _table(["recipe", "value"], recipe)
        + "\n\n![Training curves](curves.png)"
    )  # fmt: skip


def _plot_reliability(path: Path, head: Head, scored: Scored) -> None:
    figure = Figure(figsize=(12, 4), layout="constrained")
    FigureCanvasAgg(figure)
    for axis, axes in enumerate(figure.subplots(1, len(AXES))):
        confidence, right, probes = judged(scored, axis, head.calibration.sigma_scale[axis])
        for name, chosen in (("all rows", np.ones_like(probes)), ("probes", probes)):
            points = reliability(confidence[chosen], right[chosen], 10 if name == "all rows" else 5)
            axes.plot([p[0] for p in points], [p[1] for p in points], marker="o", label=name)
        axes.plot([0, 1], [0, 1], color="grey", linewidth=0.8)
        axes.set_title(AXES[axis])
        axes.set_xlabel("confidence")
        axes.set_ylabel(f"share within {CONFIDENCE_TOLERANCE}")
        axes.legend(fontsize=7)
    figure.savefig(path, dpi=80, metadata={"Software": ""})


def _plot_archetypes(path: Path, scored: Scored) -> None:
    names = sorted(set(scored.archetypes.tolist()) - {""})
    figure = Figure(figsize=(12, 4), layout="constrained")
    FigureCanvasAgg(figure)
    places = np.arange(len(names))
    for axis, axes in enumerate(figure.subplots(1, len(AXES), sharey=True)):
        for offset, (label, values) in enumerate((("label", scored.axes), ("reading", scored.predicted))):
            means = [values[scored.archetypes == name, axis].mean() for name in names]
            axes.barh(places + 0.4 * offset, means, height=0.4, label=label)
        axes.set_yticks(places + 0.2, names, fontsize=8)
        axes.set_xlim(-1, 1)
        axes.set_title(AXES[axis])
        axes.legend(fontsize=7)
    figure.savefig(path, dpi=80, metadata={"Software": ""})
