from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from limbic.supervision.processes import PROCESSES, WATCHER
from tests.deploy.queries import PROMETHEUS, RULES, RUNBOOK, alerts
from tools.objectives import load
from tools.rules import runbook_url

TESTS = sorted((PROMETHEUS / "tests").glob("*.yml"))
CONFIGS = (PROMETHEUS / "prometheus.yml", PROMETHEUS / "compose.yml")

each_config = pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.name)
each_alert = pytest.mark.parametrize(
    "alert", alerts(), ids=lambda alert: f"{alert['alert']} {alert['labels']['severity']}"
)


def promtool(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    program = shutil.which("promtool")
    assert program, "promtool is not installed: sudo apt-get install prometheus"
    return subprocess.run([program, *arguments], cwd=PROMETHEUS, capture_output=True, text=True, check=False)


def fired(name: str) -> set[tuple[str, str]]:
    """Return the alerts that fire somewhere in a file of promtool's tests, with their severities."""
    groups = yaml.safe_load((PROMETHEUS / "tests" / name).read_text("utf-8"))["tests"]
    labels = [
        sample["labels"]
        for group in groups
        for query in group.get("promql_expr_test", [])
        for sample in query["exp_samples"]
    ]
    return {
        (found[1], found[2]) for text in labels if (found := re.search(r'alertname="(\w+)", severity="(\w+)"', text))
    }


@each_config
def test_the_configuration_is_one_that_prometheus_takes(config: Path) -> None:
    done = promtool("check", "config", config.name)

    assert done.returncode == 0, done.stdout + done.stderr


def test_the_two_configurations_differ_in_where_the_processes_are_and_in_nothing_else() -> None:
    one, other = (yaml.safe_load(config.read_text("utf-8")) for config in CONFIGS)
    (loopback,), (containers,) = one.pop("scrape_configs"), other.pop("scrape_configs")
    static, by_name = loopback.pop("static_configs"), containers.pop("dns_sd_configs")
    containers.pop("relabel_configs")

    assert one == other
    assert loopback == containers
    assert {group["labels"]["process"] for group in static} == {process.name for process in PROCESSES} | {WATCHER}
    assert [target.rpartition(":")[2] for group in static for target in group["targets"]] == [
        str(found["port"]) for found in by_name
    ]


def test_the_rules_are_sound() -> None:
    done = promtool("check", "rules", *RULES)

    assert done.returncode == 0, done.stdout + done.stderr


def test_the_alerts_fire_when_they_should_and_not_when_they_should_not() -> None:
    done = promtool("test", "rules", *TESTS)

    assert done.returncode == 0, done.stdout + done.stderr


@each_alert
def test_each_alert_is_tried_says_what_it_is_and_is_explained(alert: dict[str, Any]) -> None:
    of_an_objective = "objective" in alert["labels"]
    notes = alert["annotations"]

    assert (alert["alert"], alert["labels"]["severity"]) in fired("objectives.yml" if of_an_objective else "alerts.yml")
    assert alert["labels"]["severity"] in ("page", "ticket")
    assert notes["summary"].endswith(".")
    assert notes["description"].endswith(".")
    assert notes["runbook_url"] == runbook_url(alert["alert"])


def test_the_runbook_has_an_entry_for_each_alert_and_for_nothing_else() -> None:
    entries = re.split(r"^### ", RUNBOOK.read_text("utf-8"), flags=re.MULTILINE)[1:]

    assert {entry.partition("\n")[0] for entry in entries} == {alert["alert"] for alert in alerts()}
    for entry in entries:
        for part in ("**Means:**", "**Users see:**", "**Look:**", "**Do:**"):
            assert part in entry, entry.partition("\n")[0]


def test_links_within_the_runbook_lead_to_an_entry() -> None:
    text = RUNBOOK.read_text("utf-8")
    anchors = {heading.strip().lower().replace(" ", "-") for heading in re.findall(r"^#+ (.*)$", text, re.MULTILINE)}

    assert set(re.findall(r"\]\(#([^)]+)\)", text)) <= anchors


def test_an_objective_that_nothing_counts_is_refused(tmp_path: Path) -> None:
    source = (PROMETHEUS.parent / "objectives.toml").read_text("utf-8")
    off_the_edge, too_lax = tmp_path / "edge.toml", tmp_path / "lax.toml"
    off_the_edge.write_text(source.replace("within_s = 0.05", "within_s = 0.06"), "utf-8")
    too_lax.write_text(source.replace("goal = 0.99\n", "goal = 0.9\n"), "utf-8")

    with pytest.raises(ValueError, match="no edge of a bucket"):
        load(off_the_edge)
    with pytest.raises(ValueError, match="more than everything"):
        load(too_lax)
