from __future__ import annotations

import re
from collections import defaultdict

import pytest
from prometheus_client import REGISTRY

from tests.deploy.queries import (
    Query,
    grouping,
    panel_queries,
    recorded,
    rule_queries,
    runbook_queries,
    selectors,
)
from tools.metrics_table import LIBRARY, metrics

SHIPPED = [*panel_queries(), *rule_queries(), *runbook_queries()]

each_query = pytest.mark.parametrize("query", SHIPPED, ids=lambda query: query.where)

OF_EVERY_TARGET = {"job", "instance", "process"}
"""Labels that Prometheus itself gives to what it scrapes from us."""


def labels_by_series() -> dict[str, set[str]]:
    """Return the labels of every series that there can be in our Prometheus, but those of every target."""
    known: dict[str, set[str]] = {"up": set(), **{name: set() for name in LIBRARY}}
    for metric in metrics():
        for series in metric.series:
            known[series] = {*metric.labels, "le"} if series.endswith("_bucket") else set(metric.labels)
    known["limbic_build_info"] |= {"version", "service"}
    for rule in recorded():
        known[rule["record"]] = set(rule["labels"])
    return known


def values_by_label() -> dict[tuple[str, str], set[str]]:
    """Return the values of each series' labels that are there before anything has happened."""
    values: dict[tuple[str, str], set[str]] = defaultdict(set)
    for family in REGISTRY.collect():
        for sample in family.samples:
            for label, value in sample.labels.items():
                values[sample.name, label].add(value)
    for rule in recorded():
        values[rule["record"], "objective"].add(rule["labels"]["objective"])
    return values


KNOWN = labels_by_series()
VALUES = values_by_label()


@each_query
def test_every_metric_and_label_of_a_query_exists(query: Query) -> None:
    found = selectors(query.expr)

    assert found
    assert [selector.name for selector in found if selector.name not in KNOWN] == []
    for selector in found:
        assert {label for label, _ in selector.matchers} <= KNOWN[selector.name] | OF_EVERY_TARGET
    assert grouping(query.expr) <= set().union(*(KNOWN[one.name] for one in found)) | OF_EVERY_TARGET


@each_query
def test_every_value_that_a_query_asks_for_is_one_that_the_code_has(query: Query) -> None:
    """Of labels whose values are all there from the start. A typing error in a value would give an empty panel, or an alert that sleeps."""
    for selector in selectors(query.expr):
        for label, pattern in selector.matchers:
            there = VALUES.get((selector.name, label), set())
            missing = [one for one in re.split(r"\|", pattern) if there and one not in there]
            assert missing == [], f"{selector.name} has no {label} of {missing}"


def test_a_bucket_that_is_asked_for_is_one_that_is_counted() -> None:
    """The edge of an objective has to be written as the exposition writes it."""
    edges = {
        (sample.name, sample.labels["le"])
        for family in REGISTRY.collect()
        for sample in family.samples
        if sample.name.endswith("_bucket")
    }
    asked = {
        (selector.name, value)
        for query in rule_queries()
        for selector in selectors(query.expr)
        for label, value in selector.matchers
        if label == "le"
    }

    assert asked
    assert asked <= edges
