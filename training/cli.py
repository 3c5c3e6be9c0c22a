"""The commands of `python -m training`. Each imports what it needs when it runs, so that none waits for torch in vain."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from training.generative.record import is_generative
from training.gguf_file import WeightType
from training.logs import configure_logging, logger
from training.quantizing import AnyType

app = typer.Typer(
    help="The affect head's pipeline: data in, a quantized head with its report card out.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

DatasetOption = Annotated[Path, typer.Option("--dataset", help="The folder of a built data set.")]
RunOption = Annotated[Path, typer.Option("--run", help="The folder of a training run.")]
HeadOption = Annotated[Path, typer.Option("--head", help="A head's folder: adapter.safetensors and head.json.")]
WorkersOption = Annotated[int, typer.Option(min=1, help="Texts read at once, one thread each.")]
FileOption = Annotated[Path | None, typer.Option(help="A file in this set's published form.")]
TypeOption = Annotated[WeightType, typer.Option("--type", help="How the matrices are stored.")]
BaseOption = Annotated[
    str,
    typer.Option(
        "--base",
        help="A language model for a generative head: a name in limbic/models.toml, a GGUF, or a Qwen3 checkpoint's folder.",
    ),
]

TeacherBaseOption = Annotated[
    Path, typer.Option("--base", help="The folder of a BERT or MPNet encoder in Hugging Face's form.")
]
TeacherOption = Annotated[Path, typer.Option("--run", help="The folder of a teacher's run.")]

DATASET = Path("build/dataset")
TEACHER = Path("build/runs/teacher")
RUN = Path("build/runs/minilm-v3")
MODELS = Path("build/models")
PROBE_FOLDER = Path(__file__).parent / "probes"
FAULTS_SHOWN = 20
RATINGS = Path("build/ratings.jsonl")
CANDIDATES = Path("build/candidates.jsonl")
COMMITTED_HEAD = Path(__file__).parent / "heads" / "minilm-v3"


@app.callback()
def _prepare() -> None:
    configure_logging()


@app.command()
def dataset(
    data: Annotated[Path, typer.Option(help="The folder with the published data sets.")] = Path("../shared/data"),
    out: DatasetOption = DATASET,
    cap_per_label: Annotated[
        int,
        typer.Option(min=1, help="Most training rows of one emotion; a row stays while any of its labels has room."),
    ] = 8_000,
) -> None:
    """Merge the published sets and the probes into one training and one development split."""
    from training.dataset import build_dataset, load_dataset
    from training.dataset_report import REPORT_FILE, write_dataset_report
    from training.recipe import Recipe

    manifest = build_dataset(data, out, cap_per_label=cap_per_label)
    for source in manifest["sources"]:
        logger.info("%(name)s: %(train)d rows to train on, %(dev)d to measure on (%(licence)s)", source)
    logger.info("dropped: %s", json.dumps(manifest["dropped"]))
    write_dataset_report(out, load_dataset(out), Recipe())
    logger.info("the report is %s", out / REPORT_FILE)


@app.command()
def probes(
    folder: Annotated[Path, typer.Option(help="The folder with the probe files.")] = PROBE_FOLDER,
) -> None:
    """Check the archetype probes against their guidelines, and report how they are balanced."""
    from training.errors import DataError
    from training.probe_check import check_probes

    found = check_probes(folder, folder / "context" / "pairs.jsonl")
    typer.echo(found.report)
    if found.faults:
        shown = "; ".join(found.faults[:FAULTS_SHOWN])
        raise DataError(f"{len(found.faults)} faults in the probes: {shown}.")


@app.command("rescore")
def rescore_command(
    server: Annotated[str, typer.Option(help="An OpenAI-compatible API's root, such as http://127.0.0.1:8081/v1.")],
    model: Annotated[str, typer.Option(help="The model's name there.")],
    out: Annotated[Path, typer.Option(help="The ratings; what is in it already is not asked again.")] = RATINGS,
    folder: Annotated[Path, typer.Option("--probes", help="The folder with the probe files.")] = PROBE_FOLDER,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first probes.")] = None,
    key: Annotated[str, typer.Option(envvar="LIMBIC_RATER_KEY", help="The API's key, if it needs one.")] = "",
) -> None:
    """Let a language model rate the probes without being shown their archetypes, and compare."""
    from training.dataset import probe_files_in
    from training.rescore import Rater, agreement, rescore
    from training.sources import PROBES

    rows = [row for name, path in probe_files_in(folder).items() for row in PROBES.read(path, name)][:limit]
    typer.echo(agreement(rows, rescore(rows, out, Rater(server, model, key))))


@app.command()
def harvest(
    feed: Annotated[list[Path], typer.Argument(help="The raw feed's files.")],
    out: Annotated[Path, typer.Option(help="The candidates, to be labelled by hand; keep it private.")] = CANDIDATES,
    count: Annotated[int, typer.Option(min=1, help="Most candidates.")] = 200,
) -> None:
    """Take candidates for labelling from the gateway's raw feed, where the user lets texts be kept."""
    from training.dataset import probe_files_in
    from training.harvest import choose, read_feed, write_candidates
    from training.sources import PROBES

    known = {row.key for name, path in probe_files_in(PROBE_FOLDER).items() for row in PROBES.read(path, name)}
    chosen = choose(read_feed(feed), known, count)
    write_candidates(out, chosen)
    logger.info("%d candidates are in %s; training/probes/GUIDELINES.md says how to label them", len(chosen), out)


@app.command()
def train(
    data: DatasetOption = DATASET,
    run: RunOption = RUN,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            help="A field of the recipe (training/recipe.py, with --base training/generative/recipe.py): beta=1.0, sampling.xed=0.1.",
        ),
    ] = None,
    threads: Annotated[int, typer.Option(min=1, help="CPU threads.")] = 2,
    base: BaseOption = "",
    ratings: Annotated[
        Path | None, typer.Option(help="A teacher's ratings (`rate`): soft targets for the axes that nobody rated.")
    ] = None,
    start: Annotated[
        Path | None,
        typer.Option(help="A finished run of the same rank whose weights to start from, instead of fresh ones."),
    ] = None,
) -> None:
    """Train a head on the base encoder, or on a language model; start again with the same arguments to continue."""
    if base:
        from training.generative.recipe import GenerativeRecipe
        from training.generative.train import train_generative

        train_generative(data, run, GenerativeRecipe().with_settings(settings or ()), base, threads)
        return
    from training.recipe import Recipe
    from training.session import train_head

    train_head(data, run, Recipe().with_settings(settings or ()), threads, ratings, start)


@app.command("teach")
def teach_command(
    base: TeacherBaseOption,
    data: DatasetOption = DATASET,
    run: TeacherOption = TEACHER,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="A field of the recipe (training/teacher.py): epochs=4.")
    ] = None,
    threads: Annotated[int, typer.Option(min=1, help="CPU threads.")] = 2,
) -> None:
    """Train a larger encoder on the rated rows; start again with the same arguments to continue."""
    from training.session import teach
    from training.teacher import RECIPE

    teach(data, run, RECIPE.with_settings(settings or ()), threads, base)


@app.command("rate")
def rate_command(base: TeacherBaseOption, data: DatasetOption = DATASET, run: TeacherOption = TEACHER) -> None:
    """Let a trained teacher rate the training texts that nobody rated on every axis."""
    from training.teacher import rate

    logger.info("the ratings are in %s", rate(run, base, data))


@app.command()
def average(
    runs: Annotated[list[Path], typer.Argument(help="Folders of finished runs from one seed: two, four or eight.")],
    out: Annotated[Path, typer.Option(help="The folder of the mean; every later command takes it for a run.")] = RUN,
) -> None:
    """Make one head from several runs: the mean of their weights."""
    from training.averaging import average_runs

    average_runs(runs, out)
    logger.info("the mean of %d runs is in %s", len(runs), out)


@app.command()
def calibrate(
    run: RunOption = RUN,
    data: DatasetOption = DATASET,
    head_id: Annotated[
        str, typer.Option(help="The head's name in readings and files; the run's folder if left out.")
    ] = "",
    default_type: TypeOption = "Q8_0",
    workers: WorkersOption = 2,
    reason_tokens: Annotated[
        int, typer.Option(min=0, max=64, help="Most tokens of a generative head's reason; 0: it gives none.")
    ] = 0,
) -> None:
    """Fit thresholds and uncertainty of a finished run on the development split, as served in the given type."""
    if is_generative(run):
        from training.generative.evaluate import calibrate_generative

        record = calibrate_generative(run, head_id or run.name, data, default_type, workers, reason_tokens)
        logger.info("sigma scale %s; head.json is in %s", record.calibration.sigma_scale, run)
        return
    from training.evaluate import calibrate as fit

    head = fit(run, head_id or run.name, data, default_type, workers)
    logger.info("sigma scale %s; head.json is in %s", head.calibration.sigma_scale, run)


@app.command()
def evaluate(
    head: HeadOption = RUN,
    data: DatasetOption = DATASET,
    workers: WorkersOption = 2,
    goemotions: FileOption = None,
    emobank: FileOption = None,
    question_intimacy: FileOption = None,
    archetypes: FileOption = None,
    weights: Annotated[
        WeightType | None, typer.Option("--type", help="For given files; the head's default type if left out.")
    ] = None,
    out: Annotated[Path | None, typer.Option("--json", help="Also write the given files' figures here.")] = None,
) -> None:
    """Score a calibrated head in every weight type through llama.cpp, and write its report card.

    With a file of a published set (in the form that it is published in) only that is scored and printed, with the
    thresholds and the calibration that the head came with.
    """
    from training.published import PublishedFiles, as_markdown, save_figures, score_published

    files = PublishedFiles(goemotions, emobank, question_intimacy, archetypes)
    if files == PublishedFiles():
        if is_generative(head):
            from training.generative.evaluate import evaluate_generative

            evaluate_generative(head, data, workers)
        else:
            from training.evaluate import evaluate as measure

            measure(head, data, workers)
        logger.info("the report card is %s", head / "report.md")
        return
    figures = score_published(head, files, weights, workers)
    typer.echo(as_markdown(figures))
    if out:
        save_figures(out, figures)


@app.command()
def promote(run: RunOption = RUN) -> None:
    """Copy an evaluated head into training/heads, if it passes the gates."""
    if is_generative(run):
        from training.generative.build import promote_generative as copy
    else:
        from training.promote import promote as copy
    logger.info("promoted to %s", copy(run, COMMITTED_HEAD.parent))


@app.command()
def export(
    head: HeadOption = COMMITTED_HEAD,
    out: Annotated[Path, typer.Option(help="The GGUF to write.")] = MODELS / "affect-head-f32.gguf",
    weights: TypeOption = "F32",
    base: BaseOption = "",
) -> None:
    """Merge a head's adapter into its base and write a full GGUF."""
    if is_generative(head):
        from training.generative.build import export_generative

        export_generative(head, out, weights, base)
        logger.info("%s: %.1f MB", out, out.stat().st_size / 1e6)
        return
    from training.base import base_folder
    from training.export import assemble
    from training.gguf_file import write_whole
    from training.head import load_head

    write_whole(out, assemble(head, load_head(head), base_folder()), weights)
    logger.info("%s: %.1f MB", out, out.stat().st_size / 1e6)


@app.command()
def quantize(
    source: Annotated[Path, typer.Argument(help="A full F32 or F16 GGUF, as export writes it.")],
    out: Annotated[Path, typer.Argument(help="The GGUF to write.")],
    weights: Annotated[
        AnyType, typer.Option("--type", help="How the matrices are stored; K-types for language models.")
    ] = "Q4_0",
) -> None:
    """Store a full GGUF's matrices in fewer bits."""
    from training.quantizing import quantize_file

    quantize_file(source, out, weights)
    logger.info("%s: %.1f MB", out, out.stat().st_size / 1e6)


@app.command("build-head")
def build_head(
    head: HeadOption = COMMITTED_HEAD,
    models: Annotated[Path, typer.Option(help="The folder of built models.")] = MODELS,
) -> None:
    """Build the committed head's GGUF from its adapter and the installed base, verified by SHA-256."""
    if is_generative(head):
        from training.generative.build import build_generative

        build_generative(head, models)
        return
    from training.build import build_head as build

    build(head, models)
