"""The clients' surface: every call of both contracts, under its name, with and without an event loop."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest
from google.protobuf.descriptor import ServiceDescriptor

import limbic.client
from limbic.client import (
    GatewayClient,
    LimbicClient,
    StateEngineClient,
    SyncGatewayClient,
    SyncLimbicClient,
    SyncStateEngineClient,
)
from limbic.gateway.v1 import gateway_pb2
from limbic.state.v1 import state_pb2
from tools.sync_client import CLIENT, MODULES, made

CONTRACTS = [
    (gateway_pb2.DESCRIPTOR.services_by_name["GatewayService"], GatewayClient, SyncGatewayClient),
    (state_pb2.DESCRIPTOR.services_by_name["StateEngineService"], StateEngineClient, SyncStateEngineClient),
]


def public(client: type) -> dict[str, object]:
    return {name: member for name, member in inspect.getmembers(client) if not name.startswith("_")}


@pytest.mark.parametrize(("service", "client", "sync"), CONTRACTS)
def test_each_call_has_a_method_under_its_name_and_nothing_else_is_there(
    service: ServiceDescriptor, client: type, sync: type
) -> None:
    calls = {re.sub(r"(?<!^)(?=[A-Z])", "_", method.name).lower() for method in service.methods}

    assert set(public(client)) == set(public(sync)) == {*calls, "close"}


@pytest.mark.parametrize(
    ("client", "sync"), [(one, other) for _, one, other in CONTRACTS] + [(LimbicClient, SyncLimbicClient)]
)
def test_both_take_the_same_arguments(client: type, sync: type) -> None:
    for name, member in inspect.getmembers(client, inspect.isfunction):
        if name.startswith("_") and name != "__init__":
            continue
        other = getattr(sync, name)
        assert name == "__init__" or inspect.getdoc(member)
        one, two = (inspect.signature(found).parameters for found in (member, other))
        assert [(p.name, p.kind, p.default) for p in one.values()] == [
            (p.name, p.kind, p.default) for p in two.values()
        ]


@pytest.mark.parametrize("name", MODULES)
def test_the_one_without_an_event_loop_is_made_from_the_other(name: str) -> None:
    source, committed = ((CLIENT / kind / f"{name}.py").read_text(encoding="utf-8") for kind in ("aio", "sync"))

    assert made(source) == committed, "python -m tools.sync_client"


def test_what_is_exported_is_listed_and_there() -> None:
    assert len({*limbic.client.__all__}) == len(limbic.client.__all__)
    assert all(hasattr(limbic.client, name) for name in limbic.client.__all__)
    assert (Path(limbic.client.__file__).parent.parent / "py.typed").exists()
