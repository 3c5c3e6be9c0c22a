"""A generative head's report card: Markdown beside its `head.json`, with the committed encoders in the same tables."""

from __future__ import annotations

import json
from pathlib import Path

from training.generative.record import GenerativeRecord
from training.head import CONFIDENCE_TOLERANCE, HEAD_FILE, PLOT_FILES, REPORT_FILE
from training.markdown import table
from training.outputs import AXES
from training.plots import plot_curves
from training.report import by_archetype
from training.scoring import Scored

HEADS = Path(__file__).parents[1] / "heads"

_COLUMNS = {
    "MB": "megabytes", "p50 ms": "ms_p50", "p95 ms": "ms_p95", "emotions macro-F1": "goemotions_macro_f1",
    "EmoBank valence r": "emobank_valence_r", "question intimacy r": "question_intimacy_r",
}  # fmt: skip


def write_generative_report(folder: Path, record: GenerativeRecord, scored: Scored, heads: Path = HEADS) -> None:
    """Write `report.md` and the curves.

    Args:
        folder: the head's folder.
        record: with the metrics of every type measured.
        scored: the development split through the default type.
        heads: the committed heads, whose encoders are shown beside this one.
    """
    plot_curves(record.history, folder / PLOT_FILES[0])
    sections = (
        f"# Report card: {record.head_id}\n\n"
        f"A generative head on {record.base}. Measured through the head that is served, on the development splits, by "
        "`python -m training evaluate`. Deviations are fitted on these same splits, so the plain ECE is a little optimistic; *cross-fit* "
        "takes them from one half of the rows and scores the other. Such a head tells no emotions.",
        "## Beside the encoders\n\nLatency is of one text of about 20 tokens on one thread, each head in its own evaluation.\n\n"
        + comparison(record, heads),
        "## Axes on the held-out probes\n\n" + _axes(record),
        "## By archetype\n\nMean label / mean reading / MAE of the held-out probes.\n\n" + _archetypes(scored),
        "## Trained on\n\n" + _training(record),
    )
    (folder / REPORT_FILE).write_text("\n\n".join(sections) + "\n", encoding="utf-8")


def comparison(record: GenerativeRecord, heads: Path) -> str:
    """Return one table of this head in every measured type and of every committed encoder in its default type."""
    rows = [
        _quality(values["head_id"], values["default_type"], values["metrics"][values["default_type"]])
        for values in (json.loads(path.read_text(encoding="ascii")) for path in sorted(heads.glob(f"*/{HEAD_FILE}")))
        if "kind" not in values
    ]
    rows += [_quality(record.head_id, kind, metrics) for kind, metrics in record.metrics.items()]
    return table(["head", "type", *_COLUMNS, "probes v/i/t AUC", "ECE v/i/t cross-fit"], rows)


def _quality(head_id: str, kind: str, metrics: dict[str, float]) -> list[object]:
    areas = " / ".join(f"{metrics[f'probes_{axis}_auc']:.3f}" for axis in AXES)
    errors = " / ".join(f"{metrics[f'ece_{axis}_cross_fit']:.3f}" for axis in AXES)
    return [head_id, kind, *(metrics.get(name, float("nan")) for name in _COLUMNS.values()), areas, errors]


def _axes(record: GenerativeRecord) -> str:
    values = record.metrics[record.default_type]
    columns = ("r", "auc", "mae", "within_tolerance", "mean_confidence")
    axes = [
        [
            axis,
            *(values[f"probes_{axis}_{key}"] for key in columns),
            values[f"ece_{axis}"],
            values[f"ece_{axis}_cross_fit"],
        ]
        for axis in AXES
    ]
    pairs = [
        [pair.replace("_", ", "), values[f"probes_label_r_{pair}"], values[f"probes_predicted_r_{pair}"]]
        for pair in ("valence_intimacy", "valence_tension", "intimacy_tension")
    ]
    header = [
        "axis",
        "r",
        "AUC of the sign",
        "MAE",
        f"within {CONFIDENCE_TOLERANCE}",
        "mean confidence",
        "ECE, all rows",
        "ECE cross-fit",
    ]
    return (
        table(header, axes)
        + "\n\nCorrelation between axes, of the labels and of what is predicted:\n\n"
        + table(["axes", "labels", "predicted"], pairs)
    )


def _archetypes(scored: Scored) -> str:
    rows = []
    for name, values in by_archetype(scored).items():
        cells = [f"{values[a]['label']:+.2f} / {values[a]['reading']:+.2f} / {values[a]['mae']:.2f}" for a in AXES]
        rows.append([name, values["rows"], *cells])
    return table(["archetype", "rows", *AXES], rows)


def _training(record: GenerativeRecord) -> str:
    rows = [[source, count] for source, count in record.provenance["rows"].items()]
    recipe = [[name, f"`{value}`"] for name, value in record.provenance["recipe"].items()]
    return (
        table(["source", "rows drawn"], rows) + "\n\n" + table(["recipe", "value"], recipe)
        + f"\n\n![Training curves]({PLOT_FILES[0]})"
    )  # fmt: skip
