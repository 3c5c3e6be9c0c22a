"""The journal on a disk that fails: at every single write and sync, when it is full, and after the end of its log is lost."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.state_engine.fault_run import KINDS

FEWEST_FAULTS = {"write": 60, "disk": 60, "sync": 12}
"""A run writes and syncs at least so often: fewer would mean that the faults are not met."""


@pytest.fixture(scope="module")
def faults(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The library that makes calls fail, compiled."""
    library = tmp_path_factory.mktemp("faults") / "faults.so"
    source = Path(__file__).with_name("faults.c")
    subprocess.run(["gcc", "-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o", library, source, "-ldl"], check=True)
    return library


@pytest.mark.parametrize("kind", KINDS)
def test_whichever_call_to_the_disk_fails_nothing_is_lost_halved_or_felt_twice(kind: str, faults: Path) -> None:
    environment = os.environ | {"LD_PRELOAD": str(faults)}
    # In memory where there is such a place: a thousand runs need no disk to be told that it fails.
    with tempfile.TemporaryDirectory(
        dir=next((place for place in ("/dev/shm",) if os.access(place, os.W_OK)), None)
    ) as folder:
        command = [sys.executable, "-m", "tests.state_engine.fault_run", folder, kind]
        run = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    assert run.returncode == 0, run.stderr[-4_000:]
    assert int(run.stdout.splitlines()[-1]) >= FEWEST_FAULTS[kind.partition("-")[0]]
