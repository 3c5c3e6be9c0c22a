"""Put a run together from its folders, and show its progress."""

from __future__ import annotations

import warnings
from pathlib import Path

import torch
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from training.base import base_folder
from training.batches import RowTable
from training.dataset import load_dataset
from training.logs import logger
from training.model import AffectNetwork, load_encoder
from training.recipe import Recipe
from training.tokenizer import load_tokenizer
from training.train import Run


def prepare_run(dataset_folder: Path, run_folder: Path, recipe: Recipe, base: Path) -> Run:
    """Load the data and the base encoder, and return a run that is ready to train.

    Equal recipes and data give equal weights: torch's generator is seeded here, before the head is drawn.
    """
    dataset = load_dataset(dataset_folder)
    tokenizer = load_tokenizer(base)
    splits = {"train": dataset.train, "dev": dataset.dev}
    tables = {name: RowTable(rows, tokenizer, recipe.max_tokens) for name, rows in splits.items()}
    torch.use_deterministic_algorithms(True)
    # Otherwise every new tensor is first filled with NaN, to show reads of what was never written: a quarter of a step.
    torch.utils.deterministic.fill_uninitialized_memory = False
    torch.manual_seed(recipe.seed)
    with warnings.catch_warnings():
        # PEFT reads a transformers attribute under its old name; nothing of ours uses it.
        warnings.filterwarnings("ignore", message="`is_gradient_checkpointing` is deprecated", category=FutureWarning)
        network = AffectNetwork(load_encoder(base), recipe)
    network.start_from_frequencies(tables["train"].emotions)
    return Run(run_folder, network, recipe, dataset, tables)


def train_head(dataset_folder: Path, run_folder: Path, recipe: Recipe, threads: int) -> None:
    """Train to the end with a progress bar on a terminal and log lines everywhere."""
    torch.set_num_threads(threads)
    run = prepare_run(dataset_folder, run_folder, recipe, base_folder())
    logger.info("%d steps in %d epochs over %d rows", run.steps, recipe.epochs, len(run.dataset.train))
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, TimeRemainingColumn()) as bars:
        bar = bars.add_task("training", total=run.steps)

        def show(done: int, total: int, loss: float) -> None:
            bars.update(bar, completed=done, total=total, description=f"loss {loss:.4f}")

        run.train(show)
    logger.info("done; the adapter is in %s", run_folder)
