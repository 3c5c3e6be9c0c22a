"""The gateway over real HTTP."""

from __future__ import annotations

import asyncio
import socket

import httpx
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from tests.gateway.conftest import House


async def test_liveness_depends_on_nothing(house: House, http: httpx.AsyncClient) -> None:
    for backend in house.backends:
        await backend.stop()

    response = await http.get("/healthz")

    assert (response.status_code, response.json()) == (200, {"status": "alive"})


async def test_readiness_takes_the_language_model_and_names_what_else_is_missing(
    house: House, http: httpx.AsyncClient
) -> None:
    names = "state-engine", "affect-head", "living-llm"
    for name in names:
        await house.until_known(name, serving=True)
    all_there = await http.get("/readyz")
    await house.engine_backend.stop()
    await house.head_backend.stop()
    for name in names[:2]:
        await house.until_known(name, serving=False)
    degraded = await http.get("/readyz")
    await house.model_backend.stop()
    await house.until_known("living-llm", serving=False)
    missing = await http.get("/readyz")

    assert (all_there.status_code, all_there.json()["degraded"]) == (200, {})
    assert degraded.status_code == 200
    assert set(degraded.json()["degraded"]) == {"state-engine", "affect-head"}
    assert missing.status_code == 503
    assert missing.json()["missing"] == ["living-llm"]
    assert missing.json()["ready"] is False


async def test_a_gateway_that_goes_down_is_not_ready_while_its_turns_finish(parts: House) -> None:
    parts.drain_s = 60.0
    parts.model.hold_at = 1
    await parts.start()
    assert parts.service is not None
    await parts.until_known("living-llm", serving=True)
    events = aiter(parts.turn())
    while not (await anext(events)).HasField("delta"):
        pass
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{parts.service.http_port}") as http:
        before = await http.get("/readyz")
        stopping = asyncio.create_task(parts.stop_server())
        async with asyncio.timeout(30.0):
            while (after := await http.get("/readyz")).status_code == 200:
                pass
        alive = await http.get("/healthz")
    parts.model.release.set()
    last = [event async for event in events][-1]
    await stopping

    assert (before.status_code, before.json()["draining"]) == (200, False)
    assert (after.status_code, after.json()["ready"], after.json()["draining"]) == (503, False, True)
    assert alive.status_code == 200
    assert last.HasField("done")


async def test_metrics_speak_openmetrics_with_exemplars_to_whoever_asks(house: House, http: httpx.AsyncClient) -> None:
    events = await house.say()
    trace_id = events[-1].done.trace.trace_id

    plain = await http.get("/metrics")
    open_metrics = await http.get("/metrics", headers={"accept": "application/openmetrics-text; version=1.0.0"})

    assert plain.headers["content-type"].startswith("text/plain")
    assert "limbic_turn_stage_seconds_bucket" in plain.text
    assert trace_id not in plain.text
    assert open_metrics.headers["content-type"].startswith("application/openmetrics-text")
    families = {family.name: family for family in text_string_to_metric_families(open_metrics.text)}  # type: ignore[no-untyped-call]
    stages = families["limbic_turn_stage_seconds"].samples
    assert {sample.labels["stage"] for sample in stages} >= {"state", "affect", "record", "first_delta", "generate"}
    assert any(sample.exemplar and sample.exemplar.labels == {"trace_id": trace_id} for sample in stages)
    assert {
        "limbic_turn_first_delta_seconds",
        "limbic_gateway_overhead_seconds",
        "limbic_turns",
        "limbic_turns_in_flight",
        "limbic_turns_degraded",
        "limbic_affect_window",
        "limbic_affect_lateness_seconds",
        "limbic_shed",
        "limbic_spool_facts",
        "limbic_spool_replayed",
        "limbic_spool_rejected",
    } <= families.keys()
    assert all("ada" not in sample.labels.values() for family in families.values() for sample in family.samples)


async def test_the_snapshot_is_the_contracts_message_with_its_own_names(house: House, http: httpx.AsyncClient) -> None:
    await house.say("a secret", turn_id="t1")

    response = await http.get("/telemetry/snapshot")

    body = response.json()
    assert body["readings"][0]["turn_id"] == "t1"
    assert body["window"]["window"] == "5s"
    assert (body["turns_in_flight"], body["turns_total"], body["spooled_facts"]) == (0, "1", "0")
    assert {latency["stage"] for latency in body["latencies"]} >= {"state", "record"}
    assert "a secret" not in response.text


@pytest.mark.parametrize(("method", "path", "status"), [("GET", "/nowhere", 404), ("POST", "/healthz", 405)])
async def test_errors_are_json(http: httpx.AsyncClient, method: str, path: str, status: int) -> None:
    response = await http.request(method, path)

    assert response.status_code == status
    assert response.json()["error"]["code"] == status
    assert response.json()["error"]["message"]


async def test_a_taken_address_is_an_error_and_not_a_second_listener(parts: House, house: House) -> None:
    assert house.service is not None
    taken = f"127.0.0.1:{house.service.http_port}"
    await house.stop()
    host, _, port = taken.rpartition(":")

    with socket.create_server((host, int(port))), pytest.raises(OSError, match="in use"):
        await parts.start(http=taken)


async def test_the_http_server_ends_with_the_service(house: House, http: httpx.AsyncClient) -> None:
    await http.get("/healthz")

    await house.stop()

    with pytest.raises(httpx.ConnectError):
        await http.get("/healthz", headers={"connection": "close"})
