from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy.queries import DASHBOARDS, PROMETHEUS, panels
from tools.discovery import ROOT
from tools.generated import stale_files

PROVISIONING = ROOT / "deploy" / "grafana" / "provisioning"

each_dashboard = pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)


def place(panel: dict[str, Any]) -> tuple[int, int, int, int]:
    grid = panel["gridPos"]
    return grid["x"], grid["y"], grid["w"], grid["h"]


def overlap(one: dict[str, Any], other: dict[str, Any]) -> bool:
    (x, y, w, h), (u, v, s, t) = place(one), place(other)
    return x < u + s and u < x + w and y < v + t and v < y + h


def test_what_is_generated_is_current() -> None:
    assert stale_files() == []


def test_there_is_a_dashboard_for_each_part_and_one_for_all() -> None:
    names = {path.stem for path in DASHBOARDS}

    assert names == {f"limbic-{name}" for name in ("turns", "state-engine", "affect-head", "living-llm", "processes")}


@each_dashboard
def test_a_dashboard_is_found_under_its_own_name_and_cannot_be_changed_by_hand(path: Path) -> None:
    board = json.loads(path.read_text("utf-8"))

    assert board["uid"] == path.stem
    assert board["title"].startswith("Limbic / ")
    assert board["editable"] is False
    assert "id" not in board  # Grafana's own; another one's would put the dashboard in the place of a stranger


@each_dashboard
def test_every_panel_says_what_it_shows_and_in_which_unit(path: Path) -> None:
    for panel in panels(path):
        assert panel["title"]
        assert panel["description"].endswith("."), panel["title"]
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        unit = panel["options"]["yAxis"] if panel["type"] == "heatmap" else panel["fieldConfig"]["defaults"]
        assert unit["unit"], panel["title"]
        for target in panel["targets"]:
            assert target["legendFormat"], panel["title"]
            assert target["datasource"] == panel["datasource"]


@each_dashboard
def test_panels_have_ids_and_places_of_their_own(path: Path) -> None:
    everything = json.loads(path.read_text("utf-8"))["panels"]
    ids = [panel["id"] for panel in everything]

    assert len(set(ids)) == len(ids)
    assert not [
        (one["title"], other["title"])
        for one in everything
        for other in everything
        if one is not other and overlap(one, other)
    ]
    assert all(one["gridPos"]["y"] <= other["gridPos"]["y"] for one, other in pairwise(everything))
    assert all(x + w <= 24 for x, _, w, _ in map(place, everything))


def test_the_provisioned_source_leads_from_an_exemplar_to_its_trace_and_knows_how_often_is_scraped() -> None:
    (source,) = yaml.safe_load((PROVISIONING / "datasources" / "prometheus.yml").read_text("utf-8"))["datasources"]
    scraping = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text("utf-8"))["global"]

    assert source["jsonData"]["timeInterval"] == scraping["scrape_interval"]
    (link,) = source["jsonData"]["exemplarTraceIdDestinations"]
    assert link["name"] == "trace_id"
    assert "$${__value.raw}" in link["url"]  # one $ would be taken for a variable of the environment
