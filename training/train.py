"""The training run: epochs over the merged set, a checkpoint and a development score after each.

A run's folder holds `checkpoint.pt` (everything needed to go on), `history.json`, `curves.png` and, when the run is
done, the head's `adapter.safetensors` and `run.json`. Starting it again continues after the last whole epoch, and
ends with the weights that an uninterrupted run has.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from training.adapter import ADAPTER_FILE, adapter_from_training, save_adapter
from training.base import BASE_SHA256
from training.batches import RowTable, epoch_batches, in_length_order
from training.dataset import Dataset
from training.errors import CheckpointError
from training.logs import logger
from training.losses import loss_terms
from training.model import AffectNetwork
from training.plots import plot_curves
from training.ratings import NOBODY, Ratings
from training.recipe import Recipe
from training.scoring import score, summary

Progress = Callable[[int, int, float], None]
"""Told after each step: steps done, steps in all, the loss's running mean."""

CHECKPOINT_FILE = "checkpoint.pt"
_LOG_EVERY_STEPS = 100
_EVALUATION_ROWS = 64


class Run:
    """One training run in one folder."""

    def __init__(
        self,
        folder: Path,
        network: AffectNetwork,
        recipe: Recipe,
        dataset: Dataset,
        tables: dict[str, RowTable],
        ratings: Ratings = NOBODY,
        start: dict[str, str] | None = None,
    ) -> None:
        """Prepare a run.

        Args:
            folder: the run's folder; made if missing.
            network: freshly made, from torch's generator seeded with the recipe's seed.
            recipe: every choice of the run.
            dataset: the rows; their hashes are kept with the checkpoint.
            tables: the same rows tokenized, by split name.
            ratings: the teacher's that are in the tables.
            start: the run whose weights the network has, if it has a run's: `run` and `adapter_sha256`.
        """
        self.folder, self.network, self.recipe, self.dataset, self.tables = folder, network, recipe, dataset, tables
        self.ratings, self.start = ratings, start
        folder.mkdir(parents=True, exist_ok=True)
        self.history: list[dict[str, Any]] = []
        train = tables["train"]
        self.plan = [
            epoch_batches(train, recipe.sampling, recipe.batch_rows, recipe.seed, epoch)
            for epoch in range(recipe.epochs)
        ]
        self.steps = sum(len(batches) for batches in self.plan)
        self.optimizer = torch.optim.AdamW(network.parameter_groups(recipe), weight_decay=recipe.weight_decay)
        self.schedule = torch.optim.lr_scheduler.LambdaLR(self.optimizer, self._rate)

    def train(self, progress: Progress | None = None, stop_after_epochs: int | None = None) -> dict[str, Any] | None:
        """Train to the end and return the run's record, or None if stopped before.

        Args:
            progress: called after each step.
            stop_after_epochs: return when this many epochs of the recipe are done, leaving the rest to a later start.

        Raises:
            CheckpointError: if the folder holds a run with another recipe or other data.
        """
        first = self._restore()
        for epoch in range(first, self.recipe.epochs):
            if stop_after_epochs is not None and epoch >= stop_after_epochs:
                return None
            started = time.monotonic()
            losses = self._epoch(epoch, progress)
            measures = summary(score(self.outputs("dev"), self.dataset.dev))
            seconds = round(time.monotonic() - started, 1)
            self.history.append({"epoch": epoch + 1, "seconds": seconds, "losses": losses, "dev": measures})
            logger.info("epoch %d done in %.0f s: %s", epoch + 1, seconds, _readable(losses | measures))
            self._save(epoch + 1)
        return self._finish()

    def outputs(self, split: str) -> np.ndarray:
        """Return the network's raw outputs for every row of a split in its order, float32 [rows, TRAINED]."""
        table, self_mode = self.tables[split], self.network.training
        self.network.eval()
        results: np.ndarray | None = None
        with torch.inference_mode():
            for chosen in in_length_order(table, _EVALUATION_ROWS):
                batch = table.batch(chosen)
                values = self.network(batch.ids, batch.mask).numpy()
                if results is None:
                    results = np.empty((len(table.ids), values.shape[1]), dtype=np.float32)
                results[chosen] = values
        self.network.train(self_mode)
        assert results is not None, "a split has rows"
        return results

    def _epoch(self, epoch: int, progress: Progress | None) -> dict[str, float]:
        self.network.train()
        sums: dict[str, float] = {}
        batches = self.plan[epoch]
        before = sum(len(earlier) for earlier in self.plan[:epoch])
        for number, chosen in enumerate(batches, 1):
            batch = self.tables["train"].batch(chosen)
            terms = loss_terms(self.network(batch.ids, batch.mask), batch, self.recipe)
            torch.stack(list(terms.values())).sum().backward()
            torch.nn.utils.clip_grad_norm_(
                [p for group in self.optimizer.param_groups for p in group["params"]], self.recipe.gradient_clip
            )
            self.optimizer.step()
            self.schedule.step()
            self.optimizer.zero_grad()
            for name, term in terms.items():
                sums[name] = sums.get(name, 0.0) + term.item()
            if progress:
                progress(before + number, self.steps, sum(sums.values()) / number)
            if number % _LOG_EVERY_STEPS == 0:
                means = _readable({name: value / number for name, value in sums.items()})
                logger.info("epoch %d, step %d of %d: %s", epoch + 1, number, len(batches), means)
        return {name: round(value / len(batches), 5) for name, value in sums.items()}

    def _rate(self, step: int) -> float:
        warmup = max(1, round(self.recipe.warmup_share * self.steps))
        return min((step + 1) / warmup, max(0.0, (self.steps - step) / max(1, self.steps - warmup)))

    def _identity(self) -> dict[str, Any]:
        identity = {"recipe": self.recipe.as_dict(), "rows_sha256": self.dataset.manifest["rows_sha256"]}
        if self.ratings.axes:
            identity["teacher"] = {"id": self.ratings.teacher, "ratings_sha256": self.ratings.sha256}
        if self.start:
            identity["start"] = self.start
        return identity

    def _save(self, epochs_done: int) -> None:
        state = {
            "identity": self._identity(),
            "epochs_done": epochs_done,
            "trained": self.network.trained_state(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "generator": torch.get_rng_state(),
            "history": self.history,
        }
        # Written beside and renamed, so that an interrupted write leaves the earlier checkpoint whole.
        scratch = self.folder / f"{CHECKPOINT_FILE}.new"
        torch.save(state, scratch)
        scratch.replace(self.folder / CHECKPOINT_FILE)
        (self.folder / "history.json").write_text(json.dumps(self.history, indent=2) + "\n", encoding="ascii")
        plot_curves(self.history, self.folder / "curves.png")

    def _restore(self) -> int:
        path = self.folder / CHECKPOINT_FILE
        if not path.is_file():
            return 0
        state = torch.load(path, weights_only=True)
        if state["identity"] != self._identity():
            raise CheckpointError(
                f"{self.folder} holds a run with another recipe or other data; give another folder with --run, or "
                "remove this one."
            )
        self.network.load_trained_state(state["trained"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        torch.set_rng_state(state["generator"])
        self.history = state["history"]
        logger.info("continuing after epoch %d", state["epochs_done"])
        return int(state["epochs_done"])

    def _finish(self) -> dict[str, Any]:
        state = {name: value.detach().numpy() for name, value in self.network.trained_state().items()}
        scale = self.recipe.lora_alpha / self.recipe.lora_rank
        save_adapter(self.folder / ADAPTER_FILE, adapter_from_training(state, scale))
        record = {"base_sha256": BASE_SHA256, **self._identity(), "history": self.history}
        record["data"] = {key: self.dataset.manifest[key] for key in ("sources", "files_sha256", "dropped")}
        (self.folder / "run.json").write_text(json.dumps(record, indent=2) + "\n", encoding="ascii")
        return record


def _readable(values: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.4f}" for name, value in values.items())
