"""Replaying the spool: in order, once in effect, and no fact is lost without a trace."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from gateway.ports import BackendFailure, Fact
from gateway.replay import Replayer
from gateway.spool import Spool, unpack
from gateway.spool_files import decode
from limbic.state.v1 import state_pb2
from tests.gateway.engine_model import EngineModel
from tests.gateway.fakes import until

MIB = 1024 * 1024
CREATE = state_pb2.CreateSessionRequest(session_id="ada")


def said(number: int) -> state_pb2.RecordTurnRequest:
    return state_pb2.RecordTurnRequest(
        session_id="ada", turn_id=f"t{number}", parent_turn_id=f"t{number - 1}" if number > 1 else "", text="hello"
    )


def segments(directory: Path) -> list[Path]:
    return list(directory.glob("*.facts"))


class Sleeper:
    """Stands for the time between tries: notes how long it is, and goes on at once."""

    def __init__(self) -> None:
        self.delays: list[float] = []

    async def __call__(self, seconds: float) -> None:
        self.delays.append(seconds)
        await asyncio.sleep(0)


@asynccontextmanager
async def replaying(directory: Path, engine: EngineModel, sleeper: Sleeper | None = None) -> AsyncIterator[Spool]:
    spool = Spool(directory, MIB)
    await spool.open()
    task = asyncio.create_task(Replayer(spool, engine, sleeper or Sleeper()).run())
    try:
        yield spool
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await spool.close()


async def spooled(directory: Path, *facts: Fact) -> None:
    spool = Spool(directory, MIB)
    await spool.open()
    for fact in facts:
        await spool.append(fact)
    await spool.close()


async def test_what_waits_from_before_is_replayed_in_order_and_what_comes_later_as_well(tmp_path: Path) -> None:
    engine = EngineModel()
    await spooled(tmp_path, CREATE, said(1), said(2))

    async with replaying(tmp_path, engine) as spool:
        await until(lambda: len(spool) == 0)
        await spool.append(said(3))
        await until(lambda: len(spool) == 0)

    assert engine.facts == [CREATE, said(1), said(2), said(3)]
    assert segments(tmp_path) == []


async def test_a_fact_is_tried_until_the_engine_is_back_with_growing_delays(tmp_path: Path) -> None:
    engine, sleeper = EngineModel(), Sleeper()
    engine.failure = BackendFailure("UNAVAILABLE")
    await spooled(tmp_path, CREATE, said(1))

    async with replaying(tmp_path, engine, sleeper) as spool:
        await until(lambda: len(sleeper.delays) > 10)
        waiting = len(spool)
        engine.failure = None
        await until(lambda: len(spool) == 0)

    assert waiting == 2
    assert engine.facts == [CREATE, said(1)]
    assert 0.05 <= sleeper.delays[0] <= 0.1
    assert 2.5 <= sleeper.delays[10] <= 5.0


async def test_the_engines_own_delay_is_respected(tmp_path: Path) -> None:
    engine, sleeper = EngineModel(), Sleeper()
    engine.failure = BackendFailure("RESOURCE_EXHAUSTED", "JOURNAL_BUSY", retry_after=7.5)
    await spooled(tmp_path, CREATE)

    async with replaying(tmp_path, engine, sleeper):
        await until(lambda: len(sleeper.delays) > 2)

    assert sleeper.delays[:3] == [7.5, 7.5, 7.5]


async def test_facts_that_were_taken_before_a_crash_change_nothing(tmp_path: Path) -> None:
    engine = EngineModel()
    await spooled(tmp_path, CREATE, said(1), said(2))
    for fact in (CREATE, said(1)):
        engine.take(fact)

    async with replaying(tmp_path, engine) as spool:
        await until(lambda: len(spool) == 0)

    assert engine.facts == [CREATE, said(1), said(2)]


async def test_a_session_that_is_there_already_need_not_be_created(tmp_path: Path) -> None:
    engine = EngineModel()
    engine.take(CREATE)
    await spooled(tmp_path, state_pb2.CreateSessionRequest(session_id="ada", temperament="volatile"), said(1))
    record = engine.record

    async def refusing(fact: Fact, timeout_s: float) -> object:
        if isinstance(fact, state_pb2.CreateSessionRequest):
            raise BackendFailure("ALREADY_EXISTS", "SESSION_EXISTS")
        return await record(fact, timeout_s)

    engine.record = refusing  # type: ignore[method-assign,assignment]
    async with replaying(tmp_path, engine) as spool:
        await until(lambda: len(spool) == 0)

    assert engine.facts == [CREATE, said(1)]
    assert not (tmp_path / "rejected.facts-aside").exists()


@pytest.mark.parametrize("text", ["other words", ""])
async def test_a_fact_that_is_refused_for_good_is_set_aside_and_the_next_one_goes_on(tmp_path: Path, text: str) -> None:
    engine = EngineModel()
    engine.take(CREATE)
    engine.take(said(1))
    conflicting = said(1)
    conflicting.text = text
    await spooled(tmp_path, conflicting, said(2))

    async with replaying(tmp_path, engine) as spool:
        await until(lambda: len(spool) == 0)

    assert engine.facts == [CREATE, said(1), said(2)]
    aside = [unpack(payload) for _, payload in decode((tmp_path / "rejected.facts-aside").read_bytes())]
    assert aside == [conflicting]


async def test_a_fact_that_always_makes_the_engine_fail_does_not_hold_up_the_others(tmp_path: Path) -> None:
    engine = EngineModel()
    engine.take(CREATE)
    poison = said(9)
    record = engine.record

    async def failing(fact: Fact, timeout_s: float) -> object:
        if fact == poison:
            raise BackendFailure("INTERNAL", "INTERNAL_ERROR")
        return await record(fact, timeout_s)

    engine.record = failing  # type: ignore[method-assign,assignment]
    await spooled(tmp_path, poison, said(1))
    sleeper = Sleeper()

    async with replaying(tmp_path, engine, sleeper) as spool:
        await until(lambda: len(spool) == 0)

    assert engine.facts == [CREATE, said(1)]
    assert len(sleeper.delays) == 9
