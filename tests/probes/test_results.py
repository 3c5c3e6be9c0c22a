"""Gates, results, comparisons, baselines and reports."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from google.protobuf.duration_pb2 import Duration
from hypothesis import given
from hypothesis import strategies as st

from limbic.gateway.v1 import gateway_pb2
from limbic.probes.baselines import baseline_of, outdated, write_baseline
from limbic.probes.compare import compare
from limbic.probes.errors import ResultError
from limbic.probes.gates import SUITES, Gate, verdicts
from limbic.probes.latency import Timed, latency_figures, timed
from limbic.probes.plots import draw
from limbic.probes.report import comparison_markdown, comparison_page, html_page, markdown
from limbic.probes.result import Miss, Result, Running, from_json, to_json
from tools.probe_figures import PLOTS, PROBES, document_with_figures

GATES = (Gate("whole", 0.8, None, 0.03), Gate("added_ms", None, 15.0, 5.0))
RUNNING = Running(
    limbic="0.1.0",
    head="minilm",
    head_sha256="aa",
    temperament="default",
    temperament_digest="bb",
    model="smol",
    model_sha256="cc",
    seed=1,
)


def result(
    running: Running = RUNNING,
    suite: str = "latency",
    misses: tuple[Miss, ...] = (),
    figures: Mapping[str, float] | None = None,
) -> Result:
    values: Mapping[str, float] = {"whole": 0.9, "added_ms": 9.0, **(figures or {})}
    turn = {"first_delta_s": 0.5, "asked_s": 0.1}
    detail = {"turns": {"fast": [turn], "slow": [turn], "dead": [turn]}, "window_s": 0.6}
    return Result(suite, "2026-01-02T03:04:05+00:00", 12.0, running, values, verdicts(GATES, values), misses, detail)


figure = st.floats(-100.0, 100.0)


@given(figure, figure, figure)
def test_a_gate_lets_through_what_is_within_its_limits(low: float, high: float, value: float) -> None:
    assert Gate("x", low, high).passes(value) == (low <= value <= high)
    assert not Gate("x", low, high).passes(math.nan)


@given(figure, figure, st.floats(0.0, 10.0))
def test_moving_away_from_the_limit_is_never_worse(before: float, after: float, by: float) -> None:
    assert not Gate("x", 0.0, None, by).is_worse(max(before, after), min(before, after))
    assert not Gate("x", None, 0.0, by).is_worse(min(before, after), max(before, after))


def test_a_figure_that_is_missing_does_not_pass() -> None:
    assert [verdict.passed for verdict in verdicts(GATES, {"whole": 1.0})] == [True, False]


def test_without_a_gate_nothing_passes() -> None:
    assert not replace(result(), verdicts=()).passed


def test_a_result_is_read_as_it_was_written() -> None:
    written = result(misses=(Miss("a", 1, "b", "head"),), figures={"other": math.nan})
    read = from_json(to_json(written))

    assert to_json(read) == to_json(written)
    assert math.isnan(read.figures["other"])
    assert read.misses == [Miss("a", 1, "b", "head")]
    assert read.passed


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"schema": 99}', '{"schema": 1, "suite": "x"}'])
def test_what_is_no_result_is_refused(text: str) -> None:
    with pytest.raises(ResultError):
        from_json(text)


@pytest.mark.parametrize(
    ("figures", "worse"),
    [
        ({}, set()),
        ({"whole": 0.88}, set()),
        ({"whole": 0.86}, {"whole"}),
        ({"whole": 0.95}, set()),
        ({"added_ms": 13.9}, set()),
        ({"added_ms": 14.1}, {"added_ms"}),
        ({"added_ms": 16.0}, {"added_ms"}),
        ({"other": 3.0}, set()),
    ],
)
def test_worse_is_what_slides_towards_its_limit_or_past_it(figures: dict[str, float], worse: set[str]) -> None:
    found = compare(result(), result(figures=figures))

    assert {one.measure for one in found.figures if one.worse} == worse
    assert found.is_worse == bool(worse)


def test_a_comparison_says_what_was_running_otherwise_and_which_misses_are_new() -> None:
    gone, stays, new = (Miss(name, 1, "x", "head") for name in ("gone", "stays", "new"))
    found = compare(result(misses=(gone, stays)), result(replace(RUNNING, head="minilm-v3"), misses=(stays, new)))

    assert found.running == [("head", "minilm", "minilm-v3")]
    assert (list(found.mended), list(found.new)) == ([gone], [new])
    assert "minilm-v3" in comparison_markdown(found)
    assert "minilm-v3" in comparison_page(found)


def test_results_of_two_suites_cannot_be_compared() -> None:
    with pytest.raises(ResultError, match="figures in common"):
        compare(result(), result(suite="canary"))


@pytest.mark.parametrize(
    ("suite", "change", "names"),
    [
        ("canary", {}, []),
        ("canary", {"head_sha256": "dd"}, ["head"]),
        ("mid-span", {"temperament_digest": "dd"}, ["temperament"]),
        ("canary", {"model_sha256": "dd"}, ["model"]),
        ("mid-span", {"model_sha256": "dd"}, []),
        ("canary", {"model_sha256": "", "model": "other"}, ["model"]),
        ("canary", {"head_sha256": ""}, []),
        ("canary", {"head": "renamed"}, []),
        ("canary", {"seed": 7}, []),
    ],
)
def test_a_baseline_is_old_by_what_was_running_and_not_by_its_date(
    suite: str, change: dict[str, str], names: list[str]
) -> None:
    found = outdated(suite, RUNNING, replace(RUNNING, **change))  # type: ignore[arg-type]

    assert [one.split()[1] for one in found] == names


def test_a_baseline_of_ones_own_goes_before_the_shipped_one(tmp_path: Path) -> None:
    shipped = baseline_of("affect-validation", tmp_path)
    write_baseline(result(suite="affect-validation"), tmp_path / "own")
    own = baseline_of("affect-validation", tmp_path / "own")

    assert shipped is not None
    assert shipped.place.startswith("the shipped")
    assert own is not None
    assert own.result.figures["whole"] == 0.9


def test_every_suite_has_a_shipped_baseline(tmp_path: Path) -> None:
    assert all(baseline_of(suite, tmp_path) is not None for suite in SUITES)


def test_a_report_holds_gates_misses_and_what_was_running() -> None:
    found = result(misses=(Miss("whiplash", 2, "cortisol up | <b>", "engine"),), figures={"whole": 0.5})
    text, page = markdown(found, "plot.png"), html_page(found, b"png")

    for part in ("failed", "whole", "0.500", "minilm", "whiplash"):
        assert part in text
        assert part in page
    assert "cortisol up \\| <b>" in text
    assert "cortisol up | &lt;b&gt;" in page
    assert "data:image/png;base64," in page


def test_every_shipped_baseline_can_be_drawn_and_reported(tmp_path: Path) -> None:
    for suite in SUITES:
        baseline = baseline_of(suite, tmp_path)
        assert baseline is not None
        assert draw(baseline.result).startswith(b"\x89PNG")
        assert suite in markdown(baseline.result)
        assert suite in html_page(baseline.result)


def stage(name: str, start_ms: int, length_ms: int) -> gateway_pb2.Stage:
    return gateway_pb2.Stage(
        name=name, start=Duration(nanos=start_ms * 1_000_000), duration=Duration(nanos=length_ms * 1_000_000)
    )


def trace(*, affect_ms: int, asked_ms: int) -> gateway_pb2.Trace:
    return gateway_pb2.Trace(
        stages=[
            stage("state", 1, 4),
            stage("affect", 1, affect_ms),
            stage("first_delta", asked_ms, 300),
            stage("generate", asked_ms, 500),
        ]
    )


def test_what_a_turn_adds_is_neither_the_wait_for_the_reading_nor_the_models_time() -> None:
    fast = timed(trace(affect_ms=14, asked_ms=20), 0.322, 0.6, in_window=True, recorded=True)
    late = timed(trace(affect_ms=900, asked_ms=604), 0.907, 0.6, in_window=False, recorded=True)
    dead = timed(trace(affect_ms=1, asked_ms=8), 0.310, 0.6, in_window=False, recorded=False)

    assert fast.added_s == pytest.approx(0.322 - 0.010 - 0.300)
    assert late.added_s == pytest.approx(0.907 - 0.595 - 0.300)
    assert dead.added_s == pytest.approx(0.310 - 0.300)


def test_a_turn_without_words_is_not_answered_and_has_no_times() -> None:
    turn = timed(gateway_pb2.Trace(), None, 0.6, in_window=False, recorded=False)

    assert not turn.answered
    assert math.isnan(turn.first_delta_s)


def test_the_window_is_held_against_when_the_model_is_asked() -> None:
    fast, late = Timed(True, True, True, 0.3, 0.02, 0.01), Timed(False, True, True, 0.9, 0.65, 0.01)
    found = latency_figures({"fast": [fast, fast], "slow": [late, late], "dead": [late]}, 0.6)

    assert (found["fast.hit_ratio"], found["slow.hit_ratio"]) == (1.0, 0.0)
    assert found["slow.over_window_p95_ms"] == pytest.approx(50.0)
    assert found["slow.recorded"] == 1.0


def test_the_documents_figures_are_those_of_the_baselines() -> None:
    document = PROBES.read_text("utf-8")

    assert document_with_figures(document) == document
    assert all((PLOTS / f"probe-{suite}.png").is_file() for suite in SUITES)
