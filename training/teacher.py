"""A larger encoder that learns the axes from the rated rows, and then rates the texts that nobody rated.

It is too slow to be served. What it knows goes into the small encoder by way of its ratings (`training.ratings`): soft targets
beside the real labels (Hinton, Vinyals and Dean, Distilling the Knowledge in a Neural Network, 2015).
"""

from __future__ import annotations

import json
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModel, PreTrainedModel

from training.batches import RowTable, in_length_order
from training.dataset import Dataset, load_dataset
from training.errors import ModelError
from training.hashing import file_sha256
from training.logs import logger
from training.model import LORA_TARGETS, AffectNetwork
from training.outputs import AXIS_COLUMNS
from training.ratings import Ratings, lacks_an_axis, write_ratings
from training.recipe import Recipe
from training.rows import Row
from training.tokenizer import load_tokenizer
from training.train import Run

STATE_FILE, RECORD_FILE, RATINGS_FILE = "teacher.safetensors", "teacher.json", "ratings.jsonl"

RECIPE = replace(
    Recipe(),
    epochs=3,
    adapter_learning_rate=3e-4,
    head_learning_rate=1e-3,
    # Only what carries an axis: a larger network's time is better spent there, and emotions it is not asked for.
    sampling={"goemotions": 0.0, "emobank": 1.0, "question_intimacy": 1.5, "xed": 0.0, "probes": 2.0},
)
"""How a teacher is trained, unless `--set` says otherwise."""

_RATED_AT_ONCE = 64
_LOG_EVERY_BATCHES = 50


class TeacherRun(Run):
    """A run whose result is the teacher's own weights; they are never merged or served."""

    base_sha256: str = ""

    def _identity(self) -> dict[str, Any]:
        return super()._identity() | {"base_sha256": self.base_sha256}

    def _finish(self) -> dict[str, Any]:
        save_file(
            {name: value.contiguous() for name, value in self.network.trained_state().items()}, self.folder / STATE_FILE
        )
        record = {**self._identity(), "history": self.history, "state_sha256": file_sha256(self.folder / STATE_FILE)}
        (self.folder / RECORD_FILE).write_text(json.dumps(record, indent=2) + "\n", encoding="ascii")
        return record


def prepare_teacher(dataset_folder: Path, run_folder: Path, recipe: Recipe, base: Path) -> TeacherRun:
    """Load the rated rows and the base, and return a run that is ready to train. Equal arguments give equal weights.

    Args:
        dataset_folder: a built data set.
        run_folder: where the run is kept.
        recipe: every choice of the run.
        base: the folder of a Hugging Face encoder: `config.json`, `model.safetensors`, `tokenizer.json`.

    Raises:
        ModelError: if the folder holds no such encoder.
    """
    dataset = load_dataset(dataset_folder)
    dataset = Dataset(
        dataset.train, [row for row in dataset.dev if any(axis is not None for axis in _axes_of(row))], dataset.manifest
    )
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = False
    torch.manual_seed(recipe.seed)
    network = _network(base, recipe)
    tokenizer = load_tokenizer(base)
    tables = {
        name: RowTable(rows, tokenizer, recipe.max_tokens)
        for name, rows in (("train", dataset.train), ("dev", dataset.dev))
    }
    run = TeacherRun(run_folder, network, recipe, dataset, tables)
    run.base_sha256 = file_sha256(base / "model.safetensors")
    return run


def rate(run_folder: Path, base: Path, dataset_folder: Path) -> Path:
    """Let a trained teacher read every training text that lacks an axis, write its ratings into its folder, and return the file.

    Raises:
        ModelError: if the folder holds no finished teacher, or it was trained on another base.
    """
    record_file, state_file = run_folder / RECORD_FILE, run_folder / STATE_FILE
    if not record_file.is_file() or not state_file.is_file():
        raise ModelError(f"{run_folder} holds no finished teacher; `python -m training teach` finishes it.")
    record = json.loads(record_file.read_text(encoding="ascii"))
    if record["base_sha256"] != file_sha256(base / "model.safetensors"):
        raise ModelError(f"{run_folder} was trained on another base than {base}.")
    dataset = load_dataset(dataset_folder)
    rows = [row for row in dataset.train if lacks_an_axis(row)]
    recipe = Recipe(**record["recipe"])
    network = _network(base, recipe)
    network.load_trained_state(load_file(state_file))
    network.exact_evaluation = False
    network.eval()
    readings = _readings(network, RowTable(rows, load_tokenizer(base), recipe.max_tokens))
    said = {row.key: tuple(values) for row, values in zip(rows, readings.tolist(), strict=True)}
    ratings = Ratings(record["state_sha256"][:12], dataset.manifest["rows_sha256"]["train"], said)
    write_ratings(run_folder / RATINGS_FILE, ratings)
    return run_folder / RATINGS_FILE


def _readings(network: AffectNetwork, table: RowTable) -> NDArray[np.float32]:
    result = np.empty((len(table.ids), AXIS_COLUMNS.stop - AXIS_COLUMNS.start), dtype=np.float32)
    batches = list(in_length_order(table, _RATED_AT_ONCE))
    with torch.inference_mode():
        for number, chosen in enumerate(batches, 1):
            batch = table.batch(chosen)
            result[chosen] = torch.tanh(network(batch.ids, batch.mask)[:, AXIS_COLUMNS]).numpy()
            if number % _LOG_EVERY_BATCHES == 0:
                logger.info("%d of %d batches rated", number, len(batches))
    return result


def _axes_of(row: Row) -> tuple[float | None, ...]:
    return row.valence, row.intimacy, row.tension


def _network(base: Path, recipe: Recipe) -> AffectNetwork:
    with warnings.catch_warnings():
        # PEFT reads a transformers attribute under its old name; nothing of ours uses it.
        warnings.filterwarnings("ignore", message="`is_gradient_checkpointing` is deprecated", category=FutureWarning)
        return AffectNetwork(load_teacher_base(base), recipe)


def load_teacher_base(folder: Path) -> PreTrainedModel:
    """Load an encoder as it was published, but for its pooler.

    Raises:
        ModelError: if the folder holds none of a kind that adapters are known for (`training.model.LORA_TARGETS`).
    """
    if not (folder / "model.safetensors").is_file() or not (folder / "tokenizer.json").is_file():
        raise ModelError(f"{folder} holds no encoder: config.json, model.safetensors and tokenizer.json are needed.")
    config = AutoConfig.from_pretrained(folder, attn_implementation="eager")
    if config.model_type not in LORA_TARGETS:
        raise ModelError(f"{folder} holds a {config.model_type}; a teacher can be a {' or a '.join(LORA_TARGETS)}.")
    return AutoModel.from_pretrained(folder, config=config, add_pooling_layer=False, use_safetensors=True)
