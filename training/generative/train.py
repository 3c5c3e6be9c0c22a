"""A generative run: epochs over a drawn set, a checkpoint every few steps, development scores after each epoch.

A run's folder holds `checkpoint.pt` (everything needed to go on), `curves.png`, and when it is done the head's `adapter.safetensors` and
`run.json`. Started again it continues at the step of its checkpoint, and ends with the weights that an uninterrupted run has.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from training.adapter import ADAPTER_FILE, save_adapter
from training.dataset import Dataset, load_dataset
from training.errors import CheckpointError
from training.generative.adapter import adapter_from_training
from training.generative.base import Base, check_architecture, open_base
from training.generative.batches import TreeTable, chosen_rows, epoch_batches, tokenized
from training.generative.build import CONVERTED_BASE
from training.generative.network import DigitNetwork, as_arrays, digit_loss, load_language_model
from training.generative.recipe import WORDS, GenerativeRecipe
from training.generative.record import KIND, RUN_FILE
from training.generative.scores import score_digits
from training.logs import logger
from training.plots import plot_curves
from training.scoring import summary

_CHECKPOINT_EVERY_STEPS = 10
_EVALUATION_ROWS = 32
_WATCHED = {"probes": 1_000_000, "emobank": 150, "question_intimacy": 100}
"""Development rows that are looked at after each epoch; the report card looks at all."""


class GenerativeRun:
    """One training run in one folder."""

    def __init__(
        self,
        folder: Path,
        network: DigitNetwork,
        recipe: GenerativeRecipe,
        identity: dict[str, Any],
        tables: dict[str, TreeTable],
    ) -> None:
        """Prepare a run.

        Args:
            folder: the run's folder; made if missing.
            network: freshly made, from torch's generator seeded with the recipe's seed.
            recipe: every choice of the run.
            identity: what else decides the weights; a checkpoint with another one is refused.
            tables: the rows tokenized, as `train` and `dev`.
        """
        self.folder, self.network, self.recipe, self.identity, self.tables = folder, network, recipe, identity, tables
        folder.mkdir(parents=True, exist_ok=True)
        self.history: list[dict[str, Any]] = []
        self.losses: list[float] = []
        self.plan = [
            batch
            for epoch in range(recipe.epochs)
            for batch in epoch_batches(tables["train"], recipe.batch_rows, recipe.seed, epoch)
        ]
        self.epoch_steps = len(self.plan) // recipe.epochs
        parameters = [value for value in network.parameters() if value.requires_grad]
        self.optimizer = torch.optim.AdamW(parameters, lr=recipe.learning_rate, weight_decay=recipe.weight_decay)
        self.schedule = torch.optim.lr_scheduler.LambdaLR(self.optimizer, self._rate)

    def train(self, stop_after_steps: int | None = None) -> bool:
        """Train to the end and write the adapter; return False if stopped before, leaving the rest to a later start.

        Raises:
            CheckpointError: if the folder holds a run with another recipe, base or data.
        """
        done = self._restore()
        started = time.monotonic()
        while done < len(self.plan):
            if stop_after_steps is not None and done >= stop_after_steps:
                return False
            self._step(self.plan[done])
            done += 1
            if done % self.epoch_steps == 0:
                self._end_epoch(done // self.epoch_steps, round(time.monotonic() - started, 1))
            if done % _CHECKPOINT_EVERY_STEPS == 0 or done % self.epoch_steps == 0:
                logger.info("step %d of %d: loss %.4f", done, len(self.plan), np.mean(self.losses[-50:] or [0.0]))
                self._save(done)
        return True

    def digits(self, split: str) -> np.ndarray:
        """Return the digits' logits for every row of a split in its order, float32 [rows, 3, levels]."""
        table = self.tables[split]
        results: np.ndarray | None = None
        with torch.inference_mode():
            order = np.argsort(table.lengths, kind="stable")
            for start in range(0, len(order), _EVALUATION_ROWS):
                chosen = order[start : start + _EVALUATION_ROWS]
                values = self.network(table.batch(chosen)).numpy()
                if results is None:
                    results = np.empty((len(table.rows), *values.shape[1:]), dtype=np.float32)
                results[chosen] = values
        assert results is not None, "a split has rows"
        return results

    def _step(self, chosen: np.ndarray) -> None:
        batch = self.tables["train"].batch(chosen)
        loss = digit_loss(self.network(batch), batch.axes)
        loss.backward()
        parameters = [value for group in self.optimizer.param_groups for value in group["params"]]
        torch.nn.utils.clip_grad_norm_(parameters, self.recipe.gradient_clip)
        self.optimizer.step()
        self.schedule.step()
        self.optimizer.zero_grad()
        self.losses.append(loss.item())

    def _end_epoch(self, epoch: int, seconds: float) -> None:
        scores = summary(score_digits(self.digits("dev"), self.tables["dev"].rows))
        measures = {name: round(value, 4) for name, value in scores.items()}
        losses = {"digits": round(float(np.mean(self.losses[-self.epoch_steps :])), 5)}
        self.history.append({"epoch": epoch, "seconds": seconds, "losses": losses, "dev": measures})
        logger.info("epoch %d done: %s", epoch, json.dumps(losses | measures))
        plot_curves(self.history, self.folder / "curves.png")

    def _rate(self, step: int) -> float:
        warmup = max(1, round(self.recipe.warmup_share * len(self.plan)))
        return min((step + 1) / warmup, max(0.0, (len(self.plan) - step) / max(1, len(self.plan) - warmup)))

    def _save(self, done: int) -> None:
        state = {
            "identity": self.identity,
            "steps_done": done,
            "trained": self.network.trained_state(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "history": self.history,
            "losses": self.losses,
        }
        # Written beside and renamed, so that an interrupted write leaves the earlier checkpoint whole.
        scratch = self.folder / "checkpoint.pt.new"
        torch.save(state, scratch)
        scratch.replace(self.folder / "checkpoint.pt")

    def _restore(self) -> int:
        path = self.folder / "checkpoint.pt"
        if not path.is_file():
            return 0
        state = torch.load(path, weights_only=True)
        if state["identity"] != self.identity:
            raise CheckpointError(
                f"{self.folder} holds a run with another recipe, base or data; give another folder with --run, or remove this one."
            )
        self.network.load_trained_state(state["trained"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        self.history, self.losses = state["history"], state["losses"]
        logger.info("continuing after step %d", state["steps_done"])
        return int(state["steps_done"])


def prepare_run(dataset: Dataset, folder: Path, recipe: GenerativeRecipe, base: Base) -> GenerativeRun:
    """Load the base and draw the rows. Equal recipes, bases and data give equal weights: torch's generator is seeded here."""
    torch.use_deterministic_algorithms(True)
    # Otherwise every new tensor is first filled with NaN, to show reads of what was never written.
    torch.utils.deterministic.fill_uninitialized_memory = False
    torch.manual_seed(recipe.seed)
    check_architecture(base.path)
    drawn = chosen_rows(dataset.train, recipe.rows, recipe.seed)
    shown = chosen_rows(dataset.dev, {name: _WATCHED.get(name, 0) for name in recipe.rows}, recipe.seed)
    tables = {
        "train": tokenized(base.path, drawn, WORDS, recipe.max_tokens),
        "dev": tokenized(base.path, shown, WORDS, recipe.max_tokens),
    }
    network = DigitNetwork(load_language_model(base.path, recipe.bfloat16), recipe, tables["train"].prompt.levels)
    identity = {
        "recipe": recipe.as_dict(),
        "base_sha256": base.sha256,
        "rows_sha256": dataset.manifest["rows_sha256"],
    }
    return GenerativeRun(folder, network, recipe, identity, tables)


def train_generative(
    dataset_folder: Path, folder: Path, recipe: GenerativeRecipe, base_name: str, threads: int
) -> None:
    """Train a generative head to the end, or go on where it was interrupted."""
    torch.set_num_threads(threads)
    dataset = load_dataset(dataset_folder)
    folder.mkdir(parents=True, exist_ok=True)
    base = open_base(base_name, folder / CONVERTED_BASE)
    run = prepare_run(dataset, folder, recipe, base)
    logger.info("%d steps in %d epochs over %d rows", len(run.plan), recipe.epochs, len(run.tables["train"].rows))
    run.train()
    finish(run, dataset, base)
    logger.info("done; the adapter is in %s", folder)


def finish(run: GenerativeRun, dataset: Dataset, base: Base) -> None:
    """Write a trained run's adapter and its record."""
    config = run.network.adapted.get_base_model().config
    adapter = adapter_from_training(
        as_arrays(run.network.trained_state()),
        run.recipe.lora_alpha / run.recipe.lora_rank,
        check_architecture(base.path),
        config.num_attention_heads,
        config.num_key_value_heads,
    )
    save_adapter(run.folder / ADAPTER_FILE, adapter)
    record = {"kind": KIND, "base": base.name, **run.identity, "history": run.history}
    record["rows"] = {
        source: sum(row.source == source for row in run.tables["train"].rows) for source in run.recipe.rows
    }
    record["data"] = {key: dataset.manifest[key] for key in ("sources", "files_sha256", "dropped")}
    (run.folder / RUN_FILE).write_text(json.dumps(record, indent=2) + "\n", encoding="ascii")
