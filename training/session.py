"""Put a run together from its folders, and show its progress."""

from __future__ import annotations

import warnings
from pathlib import Path

import torch
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from training.adapter import ADAPTER_FILE
from training.base import base_folder
from training.batches import RowTable
from training.dataset import load_dataset
from training.errors import ModelError
from training.hashing import file_sha256
from training.logs import logger
from training.model import AffectNetwork, load_encoder
from training.ratings import NOBODY, read_ratings
from training.recipe import Recipe
from training.teacher import prepare_teacher
from training.tokenizer import load_tokenizer
from training.train import CHECKPOINT_FILE, Run


def prepare_run(
    dataset_folder: Path,
    run_folder: Path,
    recipe: Recipe,
    base: Path,
    ratings_file: Path | None = None,
    start: Path | None = None,
) -> Run:
    """Load the data and the base encoder, and return a run that is ready to train.

    Equal recipes and data give equal weights: torch's generator is seeded here, before the head is drawn.

    Args:
        dataset_folder: a built data set.
        run_folder: where the run is kept.
        recipe: every choice of the run.
        base: the base encoder's folder.
        ratings_file: a teacher's ratings of the training split, if there is a teacher.
        start: a finished run of the same shape, whose weights to start from instead of fresh ones.

    Raises:
        DataError: if the ratings are of another split.
        ModelError: if there is no finished run to start from.
    """
    dataset = load_dataset(dataset_folder)
    tokenizer = load_tokenizer(base)
    ratings = NOBODY if ratings_file is None else read_ratings(ratings_file, dataset.manifest["rows_sha256"]["train"])
    tables = {
        "train": RowTable(dataset.train, tokenizer, recipe.max_tokens, ratings),
        "dev": RowTable(dataset.dev, tokenizer, recipe.max_tokens),
    }
    torch.use_deterministic_algorithms(True)
    # Otherwise every new tensor is first filled with NaN, to show reads of what was never written: a quarter of a step.
    torch.utils.deterministic.fill_uninitialized_memory = False
    torch.manual_seed(recipe.seed)
    with warnings.catch_warnings():
        # PEFT reads a transformers attribute under its old name; nothing of ours uses it.
        warnings.filterwarnings("ignore", message="`is_gradient_checkpointing` is deprecated", category=FutureWarning)
        network = AffectNetwork(load_encoder(base), recipe)
    network.start_from_frequencies(tables["train"].emotions)
    begun = None if start is None else _start_from(network, start)
    return Run(run_folder, network, recipe, dataset, tables, ratings, begun)


def _start_from(network: AffectNetwork, run_folder: Path) -> dict[str, str]:
    """Give the network a finished run's weights, and return which they are."""
    checkpoint, adapter = run_folder / CHECKPOINT_FILE, run_folder / ADAPTER_FILE
    if not checkpoint.is_file() or not adapter.is_file():
        raise ModelError(f"{run_folder} holds no finished run with its checkpoint to start from.")
    network.load_trained_state(torch.load(checkpoint, weights_only=True)["trained"])
    return {"run": run_folder.name, "adapter_sha256": file_sha256(adapter)}


def train_head(
    dataset_folder: Path,
    run_folder: Path,
    recipe: Recipe,
    threads: int,
    ratings_file: Path | None = None,
    start: Path | None = None,
) -> None:
    """Train to the end with a progress bar on a terminal and log lines everywhere."""
    torch.set_num_threads(threads)
    train_with_progress(prepare_run(dataset_folder, run_folder, recipe, base_folder(), ratings_file, start))


def teach(dataset_folder: Path, run_folder: Path, recipe: Recipe, threads: int, base: Path) -> None:
    """Train a teacher to the end, shown as a head's training is."""
    torch.set_num_threads(threads)
    train_with_progress(prepare_teacher(dataset_folder, run_folder, recipe, base))


def train_with_progress(run: Run) -> None:
    """Train a run to its end."""
    logger.info("%d steps in %d epochs over %d rows", run.steps, run.recipe.epochs, len(run.dataset.train))
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, TimeRemainingColumn()) as bars:
        bar = bars.add_task("training", total=run.steps)

        def show(done: int, total: int, loss: float) -> None:
            bars.update(bar, completed=done, total=total, description=f"loss {loss:.4f}")

        run.train(show)
    logger.info("done; the result is in %s", run.folder)
