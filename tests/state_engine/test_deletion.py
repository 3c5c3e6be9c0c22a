"""Sessions that are deleted: on purpose, also while they are written to, or because nobody has used them for long."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration

from limbic.runtime.clock import NS_PER_S
from limbic.runtime.settings import StateSettings
from limbic.state.v1 import state_pb2
from services.state_engine import metrics
from services.state_engine.cache import SessionCache
from services.state_engine.errors import SessionNotFoundError
from services.state_engine.journal.facts import SessionFact
from services.state_engine.library import TemperamentLibrary
from services.state_engine.retention import Retention
from services.state_engine.session import Session
from tests.state_engine.calls import felt, opened, said, state_at
from tests.state_engine.parts import Running, SetClock, refused, running_engine
from tests.state_engine.stores import SESSION, PostgresStore, Store, ignore
from tests.state_engine.stores import opened as opened_store

DAY_S = 86_400.0


def delete(session: str = "s") -> state_pb2.DeleteSessionRequest:
    return state_pb2.DeleteSessionRequest(session_id=session)


def journal_of(store: Store, folder: Path) -> str | Path:
    return store.url if isinstance(store, PostgresStore) else folder / "state" / "journal.sqlite3"


@pytest.fixture
async def running(store: Store, clock: SetClock, tmp_path: Path) -> AsyncIterator[Running]:
    async with running_engine(journal_of(store, tmp_path), clock) as engine:
        yield engine


async def test_a_deleted_session_is_gone_and_to_delete_it_again_changes_nothing(running: Running) -> None:
    await opened(running)
    await said(running, "t", felt("f"))
    assert (await running.stub.DeleteSession(delete())).deleted_facts == 3
    assert (await running.stub.DeleteSession(delete())).deleted_facts == 0
    assert (await running.stub.DeleteSession(delete("nowhere"))).deleted_facts == 0
    for call in (
        running.stub.GetState(state_pb2.GetStateRequest(session_id="s")),
        running.stub.ListTurns(state_pb2.ListTurnsRequest(session_id="s")),
        running.stub.RecordTurn(state_pb2.RecordTurnRequest(session_id="s", turn_id="u", text="words")),
    ):
        assert (await refused(call)).reason == "SESSION_NOT_FOUND"

    assert not (await opened(running)).existed
    assert (await state_at(running)).revision == 1
    # Its ids are free again.
    assert (await said(running, "t", felt("f"))).revision == 3


async def test_a_fork_outlives_what_it_came_from(running: Running) -> None:
    await opened(running)
    await said(running, "t", felt("f"))
    await running.stub.Fork(state_pb2.ForkRequest(session_id="s", new_session_id="fork"))
    before = await state_at(running, session="fork")
    await running.stub.DeleteSession(delete())

    assert await state_at(running, session="fork") == before


async def test_whoever_writes_while_it_is_deleted_is_told_or_deleted_too(running: Running) -> None:
    for number in range(10):
        await opened(running)
        calls = [
            asyncio.ensure_future(said(running, f"t{number}-{call}", felt(f"f{number}-{call}"), parent=""))
            for call in range(24)
        ]
        deletion = asyncio.ensure_future(running.stub.DeleteSession(delete()))
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
        refusals = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
        assert all(isinstance(one, grpc.aio.AioRpcError) for one in refusals)
        assert {one.code() for one in refusals if isinstance(one, grpc.aio.AioRpcError)} <= {grpc.StatusCode.NOT_FOUND}
        assert (await deletion).deleted_facts == 1 + 2 * (len(outcomes) - len(refusals))
        assert (
            await refused(running.stub.GetState(state_pb2.GetStateRequest(session_id="s")))
        ).reason == "SESSION_NOT_FOUND"


async def test_whoever_watches_it_is_told_that_it_is_gone(running: Running) -> None:
    await opened(running)
    call = running.stub.WatchState(state_pb2.WatchStateRequest(session_id="s", interval=Duration(seconds=3_600)))
    await call.read()
    await running.stub.DeleteSession(delete())
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call.read()
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


async def test_a_session_that_is_being_read_while_it_is_deleted_does_not_come_back() -> None:
    library = TemperamentLibrary()
    named = library.named("default")
    fact = SessionFact("s", "default", named.digest, named.text, True, 1)
    reads: asyncio.Queue[asyncio.Future[Session | None]] = asyncio.Queue()

    async def load(session_id: str) -> Session | None:
        future = asyncio.get_running_loop().create_future()
        await reads.put(future)
        found: Session | None = await future
        return found

    cache = SessionCache(load, 10, lambda session_id: False)
    waiting = asyncio.create_task(cache.get("s"))
    first = await reads.get()
    cache.forget("s")
    first.set_result(Session(fact, named))
    (await reads.get()).set_result(None)
    with pytest.raises(SessionNotFoundError):
        await waiting


async def test_what_nobody_has_used_for_long_is_deleted_whole(store: Store, clock: SetClock) -> None:
    forgotten: list[str] = []
    before = metrics.EXPIRED._value.get()
    async with opened_store(store) as journal:

        async def put(name: str) -> None:
            fact = SessionFact(name, "default", "digest", SESSION.temperament_text, True, clock.now)
            await journal.append(name, [fact], ignore)

        retention = Retention(journal, forgotten.append, clock, 30.0)
        for number in range(5):
            await put(f"old{number}")
        clock.pass_s(29.9 * DAY_S)
        await put("new")
        assert await retention.sweep() == 0
        clock.pass_s(0.2 * DAY_S)
        assert await retention.sweep() == 5
        assert await journal.load("new") is not None
        assert [await journal.load(f"old{number}") for number in range(5)] == [None] * 5
        assert await retention.sweep() == 0

    assert sorted(forgotten) == [f"old{number}" for number in range(5)]
    assert metrics.EXPIRED._value.get() - before == 5


async def test_a_clock_that_jumps_deletes_nothing(store: Store, clock: SetClock) -> None:
    async with opened_store(store) as journal:
        fact = SessionFact("s", "default", "digest", SESSION.temperament_text, True, clock.now)
        await journal.append("s", [fact], ignore)
        # The wall clock runs ahead by a year; the monotonic one knows that no such time has passed.
        ahead = JumpingClock(clock, 365 * DAY_S)
        retention = Retention(journal, ignore_name, ahead, 30.0)
        ahead.jumps = True
        assert await retention.sweep() == 0
        assert await journal.load("s") is not None


def ignore_name(session_id: str) -> None:
    """Nobody has to be told."""


class JumpingClock:
    def __init__(self, clock: SetClock, jump_s: float) -> None:
        self._clock = clock
        self._jump_ns = round(jump_s * NS_PER_S)
        self.jumps = False

    def now_ns(self) -> int:
        return self._clock.now_ns() + (self._jump_ns if self.jumps else 0)

    def monotonic(self) -> float:
        return self._clock.monotonic()


async def test_an_engine_sweeps_by_itself(journal_path: Path, clock: SetClock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.state_engine.retention.BETWEEN_SWEEPS_S", 0.01)
    settings = StateSettings(retention_days=1.0)
    async with running_engine(journal_path, clock, settings) as engine:
        await opened(engine)
        call = engine.stub.WatchState(state_pb2.WatchStateRequest(session_id="s", interval=Duration(seconds=3_600)))
        await call.read()
        clock.pass_s(1.1 * DAY_S)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await asyncio.wait_for(call.read(), 20.0)
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND
        assert not (await opened(engine)).existed
