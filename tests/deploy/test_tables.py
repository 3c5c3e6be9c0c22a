from __future__ import annotations

import re
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, Counter

from limbic.runtime.errors import LimbicError
from limbic.runtime.metrics import at_zero
from tools import errors_table
from tools.discovery import ROOT, process_of
from tools.errors_table import errors_document
from tools.metrics_table import metrics

METRIC = re.compile(r"limbic_[a-z_]+[a-z]")


def test_every_metric_says_what_it_counts_in_base_units() -> None:
    for metric in metrics():
        assert metric.meaning.endswith("."), metric.name
        assert (metric.kind == "counter") == metric.name.endswith("_total"), metric.name
        assert not re.search(r"_(ms|milliseconds|minutes|kb|mb|percent)(_|$)", metric.name), metric.name
        assert not {"session", "session_id", "turn_id", "user", "key", "text"} & set(metric.labels), metric.name


def test_a_metric_belongs_to_the_process_whose_package_it_is_in() -> None:
    assert process_of("services.affect_head.metrics") == "affect-head"
    assert process_of("gateway.access.ring") == "gateway"
    assert process_of("limbic.supervision.watcher") == "watcher"
    assert process_of("limbic.runtime.metrics") == "all"


@pytest.mark.parametrize("document", sorted((ROOT / "docs").glob("*.md")), ids=lambda path: path.name)
def test_every_metric_that_a_document_names_exists(document: Path) -> None:
    known = {series for metric in metrics() for series in (metric.name, *metric.series)}

    assert set(METRIC.findall(document.read_text("utf-8"))) - known == set()


def test_the_table_and_the_contract_give_each_reason_the_same_code() -> None:
    """The protos list reasons as `//   REASON, REASON (CODE, …)`."""
    listed = {
        (reason, code)
        for proto in (ROOT / "protos").rglob("*.proto")
        for reasons, code in re.findall(r"(?m)^//   ([A-Z_]+(?:, [A-Z_]+)*) \(([A-Z_]+)", proto.read_text("utf-8"))
        for reason in reasons.split(", ")
    }
    table = set(re.findall(r"^\| `([A-Z_]+)` \| ([A-Z_]+) \|", errors_document(), re.MULTILINE))

    assert len(listed) > 20
    assert listed <= table


def test_a_reason_without_advice_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    class NewError(LimbicError):
        """Something new."""

        reason = "SOMETHING_NEW"

    known = list(errors_table.leaves())
    monkeypatch.setattr(errors_table, "leaves", lambda: [*known, NewError])

    with pytest.raises(ValueError, match="SOMETHING_NEW"):
        errors_document()


def test_series_are_there_before_their_first_event() -> None:
    registry = CollectorRegistry()
    counter = Counter("events_total", "Events.", ["kind", "end"], registry=registry)
    at_zero(counter, kind=["a", "b"], end=["good"])

    assert registry.get_sample_value("events_total", {"kind": "a", "end": "good"}) == 0
    assert registry.get_sample_value("events_total", {"kind": "b", "end": "good"}) == 0
