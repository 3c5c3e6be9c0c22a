"""What the alerts stand on is counted where it happens."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
from pathlib import Path

import psycopg
import pytest
from prometheus_client import REGISTRY

from gateway.spool import Spool
from limbic.affect.v1 import affect_pb2
from limbic.runtime.clock import SystemClock
from limbic.runtime.deadline import Deadline
from limbic.runtime.interceptor import CallInterceptor, Gate
from limbic.runtime.metrics import watch_disk
from limbic.state.v1 import state_pb2
from services.affect_head.head import Utterance
from services.affect_head.pool import ReaderPool
from services.state_engine.journal import postgres_server, sqlite_file
from tests.affect_head.gated_head import GatedHead


def value(name: str, **labels: str) -> float:
    found = REGISTRY.get_sample_value(name, labels)
    assert found is not None, f"{name} {labels} is not there"
    return found


def test_the_room_on_the_disk_is_shown_also_before_the_folder_is_made(tmp_path: Path) -> None:
    watch_disk(tmp_path / "not" / "yet")

    assert 0 < value("limbic_data_free_bytes") <= shutil.disk_usage(tmp_path).total


def test_faults_of_ours_are_at_zero_for_each_method_that_is_served() -> None:
    service = affect_pb2.DESCRIPTOR.services_by_name["AffectHeadService"]
    CallInterceptor(frozenset({service.full_name}), Gate(), default_deadline_s=1.0, max_deadline_s=1.0)

    for method in service.methods:
        assert value("limbic_internal_errors_total", grpc_method=method.name) >= 0


@pytest.mark.parametrize(
    ("error", "action", "counted"),
    [
        (sqlite3.OperationalError(), "written", "written"),
        (sqlite3.OperationalError(), "read", "read"),
        (psycopg.OperationalError(), "written", "written"),
        (psycopg.errors.DataCorrupted(), "read", "corrupt"),
    ],
)
def test_what_the_store_fails_is_counted_by_what_could_not_be_done(error: Exception, action: str, counted: str) -> None:
    before = value("limbic_journal_failures_total", action=counted)
    if isinstance(error, sqlite3.Error):
        sqlite_file.failure(error, action)
    else:
        assert isinstance(error, psycopg.Error)
        postgres_server.failure(error, action)

    assert value("limbic_journal_failures_total", action=counted) == before + 1


async def test_the_spool_shows_its_bytes_and_its_bound(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool", max_bytes=4_096)
    await spool.open()
    empty = value("limbic_spool_bytes")
    fact = state_pb2.RecordTurnRequest(session_id="ada", turn_id="t1", text="hello")
    await spool.append(fact)
    held = value("limbic_spool_bytes")
    await spool.done(await spool.first() or fact)
    again = value("limbic_spool_bytes")
    await spool.close()

    assert value("limbic_spool_max_bytes") == 4_096
    assert empty == again == 0
    assert 0 < held <= 4_096


async def test_the_heads_workers_are_counted_and_those_that_are_busy() -> None:
    head = GatedHead()
    head.hold()
    pool = ReaderPool([head, head], queue_limit=4, expected_cost_s=0.1, clock=SystemClock())
    reading = asyncio.create_task(pool.read(Utterance("hello"), Deadline.after(60.0)))
    await head.until(head.started, 1)
    there, busy = value("limbic_affect_workers"), value("limbic_affect_workers_busy")
    head.let_all_go()
    await reading
    await asyncio.to_thread(pool.close)

    assert (there, busy) == (2, 1)
    assert value("limbic_affect_workers_busy") == 0
