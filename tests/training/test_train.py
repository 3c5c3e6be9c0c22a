from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest

from tests.training.tiny_run import tiny_run
from training.adapter import ADAPTER_FILE
from training.errors import CheckpointError
from training.logs import LOG_FILE_VARIABLE, configure_logging, logger


def test_equal_seeds_give_equal_weights_and_others_do_not(dataset: Path, tiny_base: Path, tmp_path: Path) -> None:
    def trained(name: str, seed: int) -> bytes:
        tiny_run(dataset, tmp_path / name, tiny_base, seed=seed, epochs=1).train()
        return (tmp_path / name / ADAPTER_FILE).read_bytes()

    first = trained("first", 1)

    assert trained("second", 1) == first
    assert trained("third", 2) != first


def test_a_resumed_run_ends_where_an_uninterrupted_one_does(dataset: Path, tiny_base: Path, tmp_path: Path) -> None:
    whole = tiny_run(dataset, tmp_path / "whole", tiny_base).train()
    assert tiny_run(dataset, tmp_path / "broken", tiny_base).train(stop_after_epochs=1) is None
    assert not (tmp_path / "broken" / ADAPTER_FILE).exists()

    resumed = tiny_run(dataset, tmp_path / "broken", tiny_base).train()

    assert (tmp_path / "whole" / ADAPTER_FILE).read_bytes() == (tmp_path / "broken" / ADAPTER_FILE).read_bytes()
    assert whole is not None
    assert resumed is not None
    assert [entry["losses"] for entry in whole["history"]] == [entry["losses"] for entry in resumed["history"]]
    assert (tmp_path / "broken" / "curves.png").stat().st_size > 0
    assert json.loads((tmp_path / "broken" / "run.json").read_text())["recipe"]["epochs"] == 2


def test_a_run_with_another_recipe_is_not_continued(dataset: Path, tiny_base: Path, tmp_path: Path) -> None:
    tiny_run(dataset, tmp_path / "run", tiny_base).train(stop_after_epochs=1)

    with pytest.raises(CheckpointError, match=r"another recipe or other data; give another folder with --run"):
        tiny_run(dataset, tmp_path / "run", tiny_base, epochs=3).train()


def test_training_follows_its_targets(dataset: Path, tiny_base: Path, tmp_path: Path) -> None:
    run = tiny_run(dataset, tmp_path / "run", tiny_base, epochs=3)
    steps: list[tuple[int, int]] = []

    record = run.train(lambda done, total, loss: steps.append((done, total)))

    assert record is not None
    losses = [sum(entry["losses"].values()) for entry in record["history"]]
    assert losses[-1] < losses[0]
    assert steps == [(number, run.steps) for number in range(1, run.steps + 1)]


def test_the_log_goes_to_the_file_that_the_environment_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(LOG_FILE_VARIABLE, str(tmp_path / "train.log"))
    configure_logging()
    try:
        logger.info("a line")
    finally:
        for handler in logger.handlers:
            handler.close()
        logger.handlers.clear()
        logger.propagate = True
        logger.setLevel(logging.NOTSET)

    assert (tmp_path / "train.log").read_text().endswith("INFO a line\n")
