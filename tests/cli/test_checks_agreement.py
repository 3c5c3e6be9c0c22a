from __future__ import annotations

from collections.abc import Iterator
from concurrent import futures

import grpc
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool
from grpc_reflection.v1alpha import reflection

from limbic.cli.checks_agreement import contracts, database
from limbic.runtime.settings import Settings
from limbic.supervision.processes import GATEWAY
from tests.state_engine.postgres import PostgresServer


def serving(pool: descriptor_pool.DescriptorPool | None, *, reflect: bool = True) -> tuple[grpc.Server, Settings]:
    server = grpc.server(futures.ThreadPoolExecutor(2))
    if reflect:
        reflection.enable_server_reflection([GATEWAY.service], server, pool=pool)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    return server, Settings.model_validate({"gateway": {"listen": f"127.0.0.1:{port}"}})


def another_version() -> descriptor_pool.DescriptorPool:
    """Return the gateway's contract as it might have been: one call less."""
    pool = descriptor_pool.DescriptorPool()

    def add(name: str) -> None:
        file = descriptor_pb2.FileDescriptorProto()
        descriptor_pool.Default().FindFileByName(name).CopyToProto(file)
        for dependency in file.dependency:
            add(dependency)
        for service in file.service:
            if f"{file.package}.{service.name}" == GATEWAY.service:
                del service.method[-1]
        pool.Add(file)

    add(descriptor_pool.Default().FindServiceByName(GATEWAY.service).file.name)
    return pool


def test_a_process_with_the_same_contract_is_well() -> None:
    server, settings = serving(None)
    found = list(contracts(settings, [GATEWAY.name]))
    server.stop(None)

    assert [(check.name, check.ok) for check in found] == [("contract gateway", True)]


def test_a_process_with_another_contract_is_to_be_restarted() -> None:
    server, settings = serving(another_version())
    found = list(contracts(settings, [GATEWAY.name]))
    server.stop(None)

    assert [check.ok for check in found] == [False]
    assert "make restart" in found[0].remedy


def test_a_process_without_reflection_is_not_blamed() -> None:
    server, settings = serving(None, reflect=False)
    found = list(contracts(settings, [GATEWAY.name]))
    server.stop(None)

    assert [(check.ok, "LIMBIC_RUNTIME__REFLECTION" in check.detail) for check in found] == [(True, True)]


@pytest.fixture(scope="module")
def postgres() -> Iterator[PostgresServer]:
    server = PostgresServer()
    yield server
    server.remove()


def test_a_database_that_answers_is_compared_with_our_clock(postgres: PostgresServer) -> None:
    found = {check.name: check for check in database(postgres.new_database())}

    assert found["journal"].ok
    assert "can be written" in found["journal"].detail
    assert found["clock"].ok


def test_a_database_whose_clock_is_off_is_found(postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("limbic.cli.checks_agreement.time.time", lambda: 1_000_000_000.0)

    found = {check.name: check for check in database(postgres.new_database())}

    assert not found["clock"].ok
    assert "NTP" in found["clock"].remedy


def test_a_database_that_is_away_is_named_without_its_password() -> None:
    found = list(database("postgresql://limbic:s3cret@127.0.0.1:1/limbic"))

    assert [check.ok for check in found] == [False]
    assert "s3cret" not in found[0].detail + found[0].remedy
