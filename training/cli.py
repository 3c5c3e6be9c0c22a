"""The commands of `python -m training`. Each imports what it needs when it runs, so that none waits for torch in vain."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from training.gguf_file import WeightType
from training.logs import configure_logging, logger

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
TypeOption = Annotated[WeightType, typer.Option("--type", help="How the matrices are stored.")]

DATASET = Path("build/dataset")
RUN = Path("build/runs/minilm-v1")
MODELS = Path("build/models")
COMMITTED_HEAD = Path(__file__).parent / "heads" / "minilm-v1"


@app.callback()
def _prepare() -> None:
    configure_logging()


@app.command()
def dataset(
    data: Annotated[Path, typer.Option(help="The folder with the published data sets.")] = Path("../shared/data"),
    out: DatasetOption = DATASET,
) -> None:
    """Merge the published sets and the probes into one training and one development split."""
    from training.dataset import build_dataset

    manifest = build_dataset(data, out)
    for source in manifest["sources"]:
        logger.info("%(name)s: %(train)d rows to train on, %(dev)d to measure on (%(licence)s)", source)
    logger.info("dropped: %s", json.dumps(manifest["dropped"]))


@app.command()
def train(
    data: DatasetOption = DATASET,
    run: RunOption = RUN,
    seed: Annotated[int, typer.Option(help="Equal seeds give equal weights.")] = 17,
    epochs: Annotated[int, typer.Option(min=1)] = 4,
    batch_rows: Annotated[int, typer.Option(min=1)] = 32,
    bfloat16: Annotated[bool, typer.Option(help="Autocast matrix products; faster where the CPU has AMX.")] = True,
    threads: Annotated[int, typer.Option(min=1, help="CPU threads.")] = 2,
) -> None:
    """Train a head on the base encoder; start again with the same arguments to continue."""
    from training.recipe import Recipe
    from training.session import train_head

    train_head(data, run, Recipe(seed=seed, epochs=epochs, batch_rows=batch_rows, bfloat16=bfloat16), threads)


@app.command()
def calibrate(
    run: RunOption = RUN,
    data: DatasetOption = DATASET,
    head_id: Annotated[str, typer.Option(help="The head's name in readings and files.")] = "minilm-v1",
    default_type: TypeOption = "Q4_0",
    workers: WorkersOption = 2,
) -> None:
    """Fit thresholds and uncertainty of a finished run on the development split, as served in the given type."""
    from training.evaluate import calibrate as fit

    head = fit(run, head_id, data, default_type, workers)
    logger.info("sigma scale %s; head.json is in %s", head.calibration.sigma_scale, run)


@app.command()
def evaluate(head: HeadOption = RUN, data: DatasetOption = DATASET, workers: WorkersOption = 2) -> None:
    """Score a calibrated head in every weight type through llama.cpp, and write its report card."""
    from training.evaluate import evaluate as measure

    measure(head, data, workers)
    logger.info("the report card is %s", head / "report.md")


@app.command()
def promote(run: RunOption = RUN) -> None:
    """Copy an evaluated head into training/heads, if it passes the gates."""
    from training.promote import promote as copy

    logger.info("promoted to %s", copy(run, COMMITTED_HEAD.parent))


@app.command()
def export(
    head: HeadOption = COMMITTED_HEAD,
    out: Annotated[Path, typer.Option(help="The GGUF to write.")] = MODELS / "affect-head-f32.gguf",
    weights: TypeOption = "F32",
) -> None:
    """Merge a head's adapter into the base encoder and write a full GGUF."""
    from training.base import base_folder
    from training.export import assemble
    from training.gguf_file import write_whole
    from training.head import load_head

    write_whole(out, assemble(head, load_head(head), base_folder()), weights)
    logger.info("%s: %.1f MB", out, out.stat().st_size / 1e6)


@app.command()
def quantize(
    source: Annotated[Path, typer.Argument(help="A full F32 GGUF, as export writes it.")],
    out: Annotated[Path, typer.Argument(help="The GGUF to write.")],
    weights: TypeOption = "Q4_0",
) -> None:
    """Store a full GGUF's matrices in fewer bits."""
    from training.gguf_file import read_gguf, write_whole

    write_whole(out, read_gguf(source), weights)
    logger.info("%s: %.1f MB", out, out.stat().st_size / 1e6)


@app.command("build-head")
def build_head(
    head: HeadOption = COMMITTED_HEAD,
    models: Annotated[Path, typer.Option(help="The folder of built models.")] = MODELS,
) -> None:
    """Build the committed head's GGUF from its adapter and the installed base, verified by SHA-256."""
    from training.build import build_head as build

    build(head, models)
