from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tests.training.tiny import write_sources, write_tiny_base
from training.dataset import build_dataset


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    """Matrices this small gain nothing from a second thread, and on a busy machine the two wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(False)


@pytest.fixture
def sources(tmp_path: Path) -> tuple[Path, Path]:
    """A data folder with a few rows of each published set, and a probe folder."""
    return write_sources(tmp_path)


@pytest.fixture
def dataset(tmp_path: Path, sources: tuple[Path, Path]) -> Path:
    """A built data set."""
    data, probes = sources
    build_dataset(data, tmp_path / "dataset", probes)
    return tmp_path / "dataset"


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BERT of two narrow layers with random weights and the real vocabulary."""
    folder = tmp_path_factory.mktemp("base")
    write_tiny_base(folder)
    assert json.loads((folder / "config.json").read_text())["hidden_size"] == 64
    return folder
