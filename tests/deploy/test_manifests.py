"""The Kubernetes manifests and the compose file say what the code says."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from limbic.runtime.settings import ENV_PREFIX, Settings
from limbic.supervision.processes import PROCESSES
from limbic.supervision.supervisor import ROOT
from services.affect_head import metrics as head_metrics

FOLDER = ROOT / "deploy" / "kubernetes"
VERSION = "1.31"
WORKLOADS = ("Deployment", "StatefulSet")


def documents() -> list[dict[str, Any]]:
    return [
        document for path in sorted(FOLDER.glob("*.yaml")) for document in yaml.safe_load_all(path.read_text("utf-8"))
    ]


def named(kind: str) -> dict[str, dict[str, Any]]:
    return {document["metadata"]["name"]: document for document in documents() if document["kind"] == kind}


def workloads() -> dict[str, dict[str, Any]]:
    return {name: workload for kind in WORKLOADS for name, workload in named(kind).items()}


def pod(workload: dict[str, Any]) -> dict[str, Any]:
    spec: dict[str, Any] = workload["spec"]["template"]["spec"]
    return spec


def ports(workload: dict[str, Any]) -> set[int]:
    return {port["containerPort"] for container in pod(workload)["containers"] for port in container["ports"]}


def known_settings() -> Iterator[str]:
    for section, field in Settings.model_fields.items():
        yield from _keys(f"{ENV_PREFIX}{section.upper()}", field.annotation)


def _keys(prefix: str, model: Any) -> Iterator[str]:
    for key, field in model.model_fields.items():
        yield f"{prefix}__{key.upper()}"
        if hasattr(field.annotation, "model_fields"):
            yield from _keys(f"{prefix}__{key.upper()}", field.annotation)


@pytest.mark.parametrize("document", documents(), ids=lambda d: f"{d['kind']}-{d['metadata']['name']}")
def test_every_manifest_is_valid(document: dict[str, Any]) -> None:
    kubernetes_validate.validate(document, VERSION, strict=True)


def test_every_manifest_is_applied() -> None:
    listed = yaml.safe_load((ROOT / "deploy" / "kustomization.yaml").read_text("utf-8"))["resources"]

    assert sorted(listed) == sorted(f"kubernetes/{path.name}" for path in FOLDER.glob("*.yaml"))


@pytest.mark.parametrize("process", PROCESSES, ids=lambda process: process.name)
def test_each_process_has_a_workload_on_the_ports_of_its_settings(process: Any) -> None:
    settings = process.settings(Settings())
    expected = {
        int(a.rpartition(":")[2]) for a in (settings.listen, settings.metrics, getattr(settings, "http", None)) if a
    }

    workload = workloads()[process.name]
    assert ports(workload) == expected
    container = pod(workload)["containers"][0]
    assert container["startupProbe"]["grpc"]["port"] == container["livenessProbe"]["grpc"]["port"]
    assert container["livenessProbe"]["grpc"]["port"] == int(settings.listen.rpartition(":")[2])


@pytest.mark.parametrize("name", workloads())
def test_every_pod_runs_locked_and_is_not_taken_away_with_its_like(name: str) -> None:
    spec = pod(workloads()[name])

    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["automountServiceAccountToken"] is False
    assert spec["terminationGracePeriodSeconds"] > Settings().runtime.drain_s * 2.5
    for container in spec["containers"]:
        assert container["securityContext"]["readOnlyRootFilesystem"] is True
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        assert {"cpu", "memory"} <= set(container["resources"]["requests"])
    assert named("PodDisruptionBudget")[name]["spec"]["selector"]["matchLabels"] == {"app": name}


def test_every_service_and_policy_finds_the_ports_of_its_pods() -> None:
    by_app = {name: ports(workload) for name, workload in workloads().items()}
    for service in named("Service").values():
        names = {
            p["name"] for c in pod(workloads()[service["spec"]["selector"]["app"]])["containers"] for p in c["ports"]
        }
        for port in service["spec"]["ports"]:
            target = port.get("targetPort", port["port"])
            assert target in by_app[service["spec"]["selector"]["app"]] | names
    for policy in named("NetworkPolicy").values():
        app = policy["spec"]["podSelector"].get("matchLabels", {}).get("app")
        for rule in policy["spec"].get("ingress", []) if app else []:
            assert {port["port"] for port in rule["ports"]} <= by_app[app]


def test_nothing_may_be_reached_that_is_not_named() -> None:
    denied = named("NetworkPolicy")["default-deny"]["spec"]

    assert denied["podSelector"] == {}
    assert sorted(denied["policyTypes"]) == ["Egress", "Ingress"]
    reached = {p["spec"]["podSelector"]["matchLabels"]["app"] for p in named("NetworkPolicy").values()
               if "Ingress" in p["spec"]["policyTypes"] and p["spec"]["podSelector"]}  # fmt: skip
    assert reached == set(workloads())


def test_heads_are_added_by_a_metric_that_exists() -> None:
    metric = named("HorizontalPodAutoscaler")["affect-head"]["spec"]["metrics"][0]["pods"]["metric"]["name"]

    assert metric == next(iter(head_metrics.QUEUE_DEPTH.describe())).name


def settings_in(path: Path) -> set[str]:
    return set(re.findall(rf"{ENV_PREFIX}[A-Z_]+[A-Z](?![A-Z_*])", path.read_text("utf-8"))) - {f"{ENV_PREFIX}CONFIG"}


@pytest.mark.parametrize(
    "path", [*FOLDER.glob("*.yaml"), ROOT / "docker-compose.yml", ROOT / "Dockerfile"], ids=lambda path: path.name
)
def test_every_setting_that_is_set_exists(path: Path) -> None:
    assert settings_in(path) <= set(known_settings())


@pytest.mark.parametrize("profile", ["single", "split", "scale"])
def test_each_profile_has_the_whole_system_behind_the_names_that_are_scraped(profile: str) -> None:
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text("utf-8"))
    names: set[str] = set()
    for name, service in compose["services"].items():
        if profile in service.get("profiles", [profile]):
            networks = service.get("networks", {})
            names |= {name, *networks.get("default", {}).get("aliases", [])}

    assert {"state-engine", "affect-head", "living-llm", "gateway", "prometheus", "grafana"} <= names
    stop = Settings().runtime.drain_s * 2.5
    for service in compose["services"].values():
        if service.get("image") == "limbic":
            assert service["read_only"] is True
            assert service["cap_drop"] == ["ALL"]
            assert _seconds(service["stop_grace_period"]) > stop * (4 if service["profiles"] == ["single"] else 1)


def _seconds(text: str) -> int:
    return int(text[:-1]) * {"s": 1, "m": 60}[text[-1]]
