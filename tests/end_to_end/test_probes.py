"""The probes against the supervised system, through the command line."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from limbic.probes.baselines import baseline_of
from limbic.probes.result import Result, load_result, to_json
from limbic.supervision.supervisor import ROOT
from tests.end_to_end.stack import Stack

LIMBIC = str(ROOT / ".venv/bin/limbic")

NOT_YET = {
    # Small talk that the head reads as distant or tense adds up: "What does this button do?" reads as -0.6 of intimacy.
    "neutral.farthest",
    "neutral.drift",
    "hurtful.left_after_12_h",
    # Rise and fall get used to a flood each for itself, so that a few words of it that read as kind weigh as much as all the others.
    "flood.oxytocin",
    "rounds_in_a_row",
}
"""Gates of mid-span that the default head and temperament do not pass, and why. Shrinks, and never grows."""


def probe(stack: Stack, suite: str, folder: Path) -> Result:
    done = stack.run(LIMBIC, "probe", "run", suite, "--out", str(folder), timeout_s=900.0)
    assert done.returncode in (0, 1), done.stderr
    (written,) = folder.glob(f"{suite}-*.json")
    assert {path.suffix for path in folder.iterdir()} == {".json", ".md", ".html", ".png"}
    result = load_result(written)
    assert result.passed == (done.returncode == 0)
    return result


def failed(result: Result) -> set[str]:
    return {verdict.gate.measure for verdict in result.verdicts if not verdict.passed}


def test_affect_validation_passes_its_gates(stack: Stack, tmp_path: Path) -> None:
    result = probe(stack, "affect-validation", tmp_path)

    assert failed(result) == set()
    assert result.figures["engine.turns"] >= 0.98
    assert {miss.address for miss in result.misses} <= {"head"}


def test_mid_span_passes_its_gates_but_for_those_that_are_known(stack: Stack, tmp_path: Path) -> None:
    result = probe(stack, "mid-span", tmp_path)

    assert failed(result) <= NOT_YET


def test_every_turn_is_answered_whatever_the_head_does(stack: Stack, tmp_path: Path) -> None:
    """Counts only: a test's machine may be busy, and its milliseconds are nobody's."""
    figures = probe(stack, "latency", tmp_path).figures

    assert [figures[f"{head}.answered"] for head in ("fast", "slow", "dead")] == [1.0, 1.0, 1.0]
    assert (figures["slow.hit_ratio"], figures["dead.hit_ratio"]) == (0.0, 0.0)
    assert (figures["fast.recorded"], figures["slow.recorded"], figures["dead.recorded"]) == (1.0, 1.0, 0.0)


def test_a_result_is_compared_with_its_baseline(stack: Stack, tmp_path: Path) -> None:
    shipped = baseline_of("affect-validation", tmp_path)
    assert shipped is not None
    worse = json.loads(to_json(shipped.result))
    worse["figures"]["whole.turns"] = 0.1
    same, other = tmp_path / "same.json", tmp_path / "worse.json"
    same.write_text(to_json(shipped.result), "utf-8")
    other.write_text(json.dumps(worse), "utf-8")

    assert stack.run(LIMBIC, "probe", "compare", str(same), str(same)).returncode == 0
    done = stack.run(LIMBIC, "probe", "compare", str(same), str(other))
    assert done.returncode == 1
    assert "worse" in done.stdout
    assert stack.run(LIMBIC, "probe", "compare", str(tmp_path / "none.json"), str(same)).returncode == 2


def test_the_doctor_warns_of_a_baseline_of_another_head(stack: Stack, tmp_path: Path) -> None:
    shipped = baseline_of("affect-validation", tmp_path)
    assert shipped is not None
    old = json.loads(to_json(shipped.result))
    old["running"].update(head="minilm-v0", head_sha256="0" * 64)
    own = stack.settings.runtime.data_dir / "baselines"
    own.mkdir(mode=0o700)
    (own / "affect-validation.json").write_text(json.dumps(old), "utf-8")

    (found,) = [one for one in checks(stack) if one["name"] == "baseline affect-validation"]
    assert found["ok"]
    assert "another head (minilm-v0, now" in found["detail"]
    assert "limbic probe run affect-validation --baseline" in found["remedy"]


def checks(stack: Stack) -> Sequence[dict[str, Any]]:
    done = stack.run(LIMBIC, "doctor", "--json", timeout_s=120.0)
    found: list[dict[str, Any]] = json.loads(done.stdout)["checks"]
    return found


@pytest.mark.parametrize("suite", ["", "affect"])
def test_a_suite_that_is_not_there_is_refused(stack: Stack, suite: str) -> None:
    done = stack.run(LIMBIC, "probe", "run", suite)

    assert done.returncode == 2
    assert "affect-validation" in done.stderr
