"""`limbic steer build` where it cannot do what is asked. What it builds is tested with the service (tests/living_llm/test_steering.py)."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from limbic.cli import app
from limbic.runtime.models import find_model


def test_a_model_that_nobody_knows_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(Path.cwd())
    done = CliRunner().invoke(app, ["steer", "build", "--model", "nobody", "--out", str(tmp_path / "out")])

    assert done.exit_code == 1
    assert "no model is called 'nobody'" in done.output
    assert not (tmp_path / "out").exists()


def test_a_file_that_does_not_generate_text_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(Path.cwd())
    encoder = str(find_model("affect-head").path)
    done = CliRunner().invoke(app, ["steer", "build", "--model", encoder, "--out", str(tmp_path / "out")])

    assert done.exit_code == 1
    assert "is no decoder-only language model" in done.output
    assert not (tmp_path / "out").exists()
