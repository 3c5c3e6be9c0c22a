"""A real engine process that is killed under load, again and again, and one that cannot start."""

from __future__ import annotations

import asyncio
import os
import signal
from collections import Counter
from pathlib import Path

import grpc
import pytest

from limbic.runtime.channels import open_channel
from limbic.state.v1 import state_pb2, state_pb2_grpc
from tests.state_engine.nursery import nursery
from tests.state_engine.parts import reading
from tests.state_engine.postgres import PostgresServer
from tests.state_engine.processes import ANSWER_S, engine_process, environment_of, until_serving

CALLERS = 64
KILLS = int(os.environ.get("KILLS", "25"))
"""`KILLS=100 pytest tests/state_engine/test_crash.py` is the figure that the changelog speaks of; it takes a minute or two."""
SESSIONS = [f"s{number}" for number in range(8)]


def request_of(caller: int, number: int) -> state_pb2.RecordTurnRequest:
    name = f"c{caller}-{number}"
    session = SESSIONS[caller % len(SESSIONS)]
    request = state_pb2.RecordTurnRequest(session_id=session, turn_id=name, parent_turn_id="", text="words")
    request.stimuli.add(stimulus_id=f"f-{name}", reading=reading(valence=-0.01 * (number % 50), tension=0.3))
    return request


async def all_turns(stub: state_pb2_grpc.StateEngineServiceAsyncStub, session: str) -> dict[str, int]:
    """Return the number of stimuli of each turn of a session."""
    found: dict[str, int] = {}
    request = state_pb2.ListTurnsRequest(session_id=session, page_size=1_000)
    while True:
        page = await stub.ListTurns(request, timeout=ANSWER_S)
        for turn in page.turns:
            assert turn.turn_id not in found
            found[turn.turn_id] = len(turn.stimuli)
        if not page.next_page_token:
            return found
        request.page_token = page.next_page_token


class Load:
    """Callers that record one turn after the other until the engine is gone, and what they know of it."""

    def __init__(self) -> None:
        self.sent: dict[str, list[state_pb2.RecordTurnRequest]] = {session: [] for session in SESSIONS}
        self.acknowledged: dict[str, set[str]] = {session: set() for session in SESSIONS}
        self._next = Counter[int]()

    async def run(
        self, stub: state_pb2_grpc.StateEngineServiceAsyncStub, acknowledged: int, enough: asyncio.Event
    ) -> None:
        """Run all callers; `enough` is set when so many records have been acknowledged in this run."""
        remaining = acknowledged

        async def caller(number: int) -> None:
            nonlocal remaining
            while True:
                request = request_of(number, self._next[number])
                self._next[number] += 1
                self.sent[request.session_id].append(request)
                try:
                    await stub.RecordTurn(request, timeout=ANSWER_S)
                except grpc.aio.AioRpcError:
                    return
                self.acknowledged[request.session_id].add(request.turn_id)
                remaining -= 1
                if remaining == 0:
                    enough.set()

        await asyncio.gather(*(caller(number) for number in range(CALLERS)))

    async def open(self, stub: state_pb2_grpc.StateEngineServiceAsyncStub) -> None:
        """Open the sessions, and see from their numbers that what was acknowledged is counted and nothing by half."""
        for session in SESSIONS:
            create = state_pb2.CreateSessionRequest(session_id=session)
            answer = await stub.CreateSession(create, timeout=ANSWER_S)
            turns, half = divmod(answer.state.revision - 1, 2)
            assert half == 0
            assert len(self.acknowledged[session]) <= turns <= len(self.sent[session])

    async def check(self, stub: state_pb2_grpc.StateEngineServiceAsyncStub) -> None:
        """Check that all that was acknowledged is there once and whole, and that a client that retries all ends with all, once."""
        for session in SESSIONS:
            found = await all_turns(stub, session)
            assert self.acknowledged[session] <= set(found)
            assert set(found.values()) <= {1}
            sent = self.sent[session]
            for start in range(0, len(sent), CALLERS):
                some = sent[start : start + CALLERS]
                answers = await asyncio.gather(*(stub.RecordTurn(one, timeout=ANSWER_S) for one in some))
                assert [answer.duplicate for answer in answers] == [one.turn_id in found for one in some]
            state = (await stub.GetState(state_pb2.GetStateRequest(session_id=session), timeout=ANSWER_S)).state
            assert state.revision == 1 + 2 * len(self.sent[session])
            assert set(await all_turns(stub, session)) == {request.turn_id for request in self.sent[session]}


@pytest.mark.parametrize(("journal", "kills"), [("sqlite", KILLS), ("postgresql", KILLS // 3)])
async def test_kills_lose_nothing_acknowledged_and_apply_nothing_twice(
    tmp_path: Path, journal: str, kills: int, request: pytest.FixtureRequest
) -> None:
    extra = {}
    if journal == "postgresql":
        server: PostgresServer = request.getfixturevalue("postgres")
        extra["LIMBIC_STATE__JOURNAL_URL"] = server.new_database()
    load = Load()
    address = f"unix:{tmp_path / 'engine.socket'}"
    async with nursery(environment_of(tmp_path, **extra)) as engines:
        for kill in range(kills):
            engine = await engines.start()
            async with open_channel(address) as channel:
                stub = state_pb2_grpc.StateEngineServiceStub(channel)
                await until_serving(channel)
                await load.open(stub)
                enough = asyncio.Event()
                # At other points of the load each time, from the first commit on.
                running = asyncio.create_task(load.run(stub, 1 + 7 * (kill % 15), enough))
                await asyncio.wait_for(enough.wait(), ANSWER_S)
                os.kill(engine, signal.SIGKILL)
                assert await engines.wait() == -signal.SIGKILL
                await running

        engine = await engines.start()
        async with open_channel(address) as channel:
            stub = state_pb2_grpc.StateEngineServiceStub(channel)
            await until_serving(channel)
            await load.open(stub)
            await load.check(stub)
        os.kill(engine, signal.SIGTERM)
        assert await engines.wait() == 0


async def test_a_configuration_that_cannot_be_used_ends_with_one_sentence(tmp_path: Path) -> None:
    broken = tmp_path / "temperaments"
    broken.mkdir()
    (broken / "mine.toml").write_text("description = 'x'\n", encoding="utf-8")

    for extra, sentence in (
        ({"LIMBIC_STATE__TEMPERAMENT": "no-such"}, "there is no temperament no-such"),
        ({"LIMBIC_STATE__TEMPERAMENTS_DIR": str(broken)}, "mine.toml: hormones: is missing"),
        ({"LIMBIC_STATE__JOURNAL_URL": "mysql://elsewhere"}, "state.journal_url: must be sqlite:///"),
        ({"LIMBIC_STATE__JOURNAL_URL": f"sqlite:///{broken}"}, "cannot be opened"),
    ):
        async with engine_process(tmp_path, **extra) as process:
            _, errors = await asyncio.wait_for(process.communicate(), ANSWER_S)
            assert process.returncode == 1
            assert sentence in errors.decode()
            assert "Traceback" not in errors.decode()
