"""The dashboards and the rules against a system that runs, as Prometheus sees it."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from limbic.client import LimbicClient
from limbic.supervision.processes import PROCESSES, WATCHER
from tests.deploy.prometheus_server import PrometheusServer, prometheus
from tests.deploy.queries import filled, panel_queries, recorded, rules
from tests.end_to_end.calls import Calls
from tests.end_to_end.stack import Stack, eventually, running_stack

WINDOW = "30m"
"""In the place of Grafana's variables: longer than the test."""

WITHOUT_DATA = {
    "limbic-living-llm: Fallbacks (A)": "comes with the first fallback, whose upstream and reason nobody knows before",
}
"""Panels that may be empty in a system that is well, and why."""

SESSION = "watched"


@pytest.fixture(scope="module")
def watched() -> Iterator[Stack]:
    with running_stack() as stack:
        yield stack


def metrics_addresses(stack: Stack) -> dict[str, str]:
    """Return where each process serves its metrics."""
    settings = stack.settings
    addresses = {process.name: process.settings(settings).metrics or settings.gateway.http for process in PROCESSES}
    assert settings.runtime.supervision_metrics
    return {**addresses, WATCHER: settings.runtime.supervision_metrics}


@pytest.fixture
async def server(watched: Stack, tmp_path: Path) -> AsyncIterator[PrometheusServer]:
    with prometheus(tmp_path, metrics_addresses(watched)) as base:
        server = PrometheusServer(base)
        await eventually("Prometheus is ready", server.ready)
        yield server
        await server.close()


async def say(stack: Stack, text: str) -> None:
    async with (
        LimbicClient(stack.settings.gateway.listen, stack.settings.state.listen) as client,
        client.turn(text, session_id=SESSION) as turn,
    ):
        assert [response async for response in turn][-1].HasField("done")


async def until_counted(server: PrometheusServer, expr: str, at_least: float) -> None:
    """Wait until Prometheus has seen what has just happened."""

    async def counted() -> bool:
        return sum(await server.values(expr)) >= at_least

    await eventually(f"{expr} is {at_least:g}", counted, timeout_s=60.0)


async def live(stack: Stack, server: PrometheusServer) -> None:
    """Have turns that go well, one whose reading is late, one without the state engine, and what comes after it."""
    calls = Calls(stack)
    try:
        await calls.until_well()
        await until_counted(server, "sum(up)", len(PROCESSES) + 1)
        for number, text in enumerate(("I am so glad that you are here.", "It was a long day.", "Good night!"), 1):
            await say(stack, text)
            await until_counted(server, "sum(limbic_turns_total)", number)
        with stack.held("affect-head"):
            await say(stack, "You never listen to me.")
        await until_counted(server, 'limbic_affect_window_total{result="late"}', 1)
        await calls.until_well()
        stack.kill("state-engine")
        await say(stack, "Are you still there?")
        await calls.until_well()
        await until_counted(server, "sum(limbic_spool_replayed_total)", 1)
        await say(stack, "There you are again.")
        await until_counted(server, "sum(limbic_turns_total)", 6)
    finally:
        await calls.close()


async def test_every_panel_and_every_rule_has_data(watched: Stack, server: PrometheusServer) -> None:
    await live(watched, server)

    wanted = {query.where: filled(query.expr, WINDOW) for query in panel_queries() if query.where not in WITHOUT_DATA}
    wanted |= {f"{rule['record']} {rule['labels']}": _recorded(rule["record"], rule["labels"]) for rule in recorded()}
    empty = dict(wanted)

    async def all_have_data() -> bool:
        for where, expr in list(empty.items()):
            if await server.values(expr):
                del empty[where]
        return not empty

    try:
        await eventually("every query has data", all_have_data, timeout_s=60.0)
    except AssertionError:
        pytest.fail("without data:\n" + "\n".join(f"{where}: {expr}" for where, expr in empty.items()))
    for where in WITHOUT_DATA:
        assert where in {query.where for query in panel_queries()}
    groups = (await server.get("rules"))["groups"]
    assert sum(len(group["rules"]) for group in groups) == len(list(rules()))
    assert [rule["lastError"] for group in groups for rule in group["rules"] if rule["health"] != "ok"] == []
    exemplars = await server.get(
        "query_exemplars", query="limbic_turn_first_delta_seconds_bucket", start="0", end="4102444800"
    )
    assert {len(one["labels"]["trace_id"]) for found in exemplars for one in found["exemplars"]} == {32}


async def test_an_alert_fires_with_its_words_and_ends_when_the_trouble_ends(
    watched: Stack, server: PrometheusServer
) -> None:
    async def firing() -> list[dict[str, Any]]:
        found = (await server.get("alerts"))["alerts"]
        return [
            alert
            for alert in found
            if alert["labels"]["alertname"] == "LimbicProcessDown" and alert["state"] == "firing"
        ]

    async def over() -> bool:
        return not await firing()

    await until_counted(server, "sum(up)", len(PROCESSES) + 1)
    with watched.held("affect-head"):
        (alert,) = await eventually("the alert fires", firing)
    await eventually("the alert ends", over)

    assert alert["labels"]["process"] == "affect-head"
    assert alert["annotations"]["summary"] == "affect-head does not answer."
    assert alert["annotations"]["runbook_url"] == "docs/runbook.md#limbicprocessdown"


@pytest.mark.parametrize("process", [*(process.name for process in PROCESSES), WATCHER])
def test_what_a_process_serves_is_named_as_prometheus_wants_it(watched: Stack, process: str) -> None:
    program = shutil.which("promtool")
    assert program, "promtool is not installed: sudo apt-get install prometheus"
    text = httpx.get(f"http://{metrics_addresses(watched)[process]}/metrics", trust_env=False).text
    done = subprocess.run([program, "check", "metrics"], input=text, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout + done.stderr


def _recorded(name: str, labels: dict[str, str]) -> str:
    return f"{name}{{{', '.join(f'{label}={value!r}' for label, value in labels.items())}}}"
