"""A real engine process that is killed under load, and one that cannot start."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc

from limbic.runtime.channels import open_channel
from limbic.runtime.settings import ENV_PREFIX
from limbic.state.v1 import state_pb2, state_pb2_grpc
from tests.state_engine.parts import reading

ROUNDS = 5
CALLERS = 16
ACKNOWLEDGED_BEFORE_THE_KILL = 60
ANSWER_S = 30.0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@asynccontextmanager
async def engine_process(folder: Path, **extra: str) -> AsyncIterator[asyncio.subprocess.Process]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(ENV_PREFIX)}
    environment |= {
        "LIMBIC_STATE__LISTEN": f"unix:{folder / 'engine.socket'}",
        "LIMBIC_STATE__METRICS": f"127.0.0.1:{free_port()}",
        "LIMBIC_STATE__JOURNAL_URL": f"sqlite:///{folder / 'journal.sqlite3'}",
        "LIMBIC_RUNTIME__LAME_DUCK_S": "0",
        **extra,
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "services.state_engine",
        env=environment,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


def request_of(caller: int, number: int) -> state_pb2.RecordTurnRequest:
    name = f"c{caller}-{number}"
    request = state_pb2.RecordTurnRequest(session_id=f"s{caller % 4}", turn_id=name, parent_turn_id="", text="words")
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
        self.sent: dict[str, list[state_pb2.RecordTurnRequest]] = {f"s{number}": [] for number in range(4)}
        self.acknowledged: dict[str, set[str]] = {session: set() for session in self.sent}
        self._next = [0] * CALLERS

    async def run(self, stub: state_pb2_grpc.StateEngineServiceAsyncStub, enough: asyncio.Event) -> None:
        """Run all callers; `enough` is set when so many records have been acknowledged in this run."""
        remaining = ACKNOWLEDGED_BEFORE_THE_KILL

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

    async def check(self, stub: state_pb2_grpc.StateEngineServiceAsyncStub) -> None:
        """Check that all that was acknowledged is there, and nothing by half."""
        for session, acknowledged in self.acknowledged.items():
            create = state_pb2.CreateSessionRequest(session_id=session)
            await stub.CreateSession(create, timeout=ANSWER_S, wait_for_ready=True)
            found = await all_turns(stub, session)
            assert acknowledged <= set(found)
            assert set(found.values()) <= {1}


async def test_a_kill_loses_nothing_acknowledged_and_applies_nothing_twice(tmp_path: Path) -> None:
    load = Load()
    for _ in range(ROUNDS):
        async with engine_process(tmp_path) as process, open_channel(f"unix:{tmp_path / 'engine.socket'}") as channel:
            stub = state_pb2_grpc.StateEngineServiceStub(channel)
            await load.check(stub)
            enough = asyncio.Event()
            running = asyncio.create_task(load.run(stub, enough))
            await asyncio.wait_for(enough.wait(), ANSWER_S)
            process.send_signal(signal.SIGKILL)
            await process.wait()
            await running

    async with engine_process(tmp_path) as process, open_channel(f"unix:{tmp_path / 'engine.socket'}") as channel:
        stub = state_pb2_grpc.StateEngineServiceStub(channel)
        await load.check(stub)
        for session, requests in load.sent.items():
            # A client that retries everything it has no answer for: each is there once in the end.
            for request in requests:
                answer = await stub.RecordTurn(request, timeout=ANSWER_S)
                assert answer.duplicate or request.turn_id not in load.acknowledged[session]
            state = (await stub.GetState(state_pb2.GetStateRequest(session_id=session), timeout=ANSWER_S)).state
            assert state.revision == 1 + 2 * len(requests)
            assert set(await all_turns(stub, session)) == {request.turn_id for request in requests}
        process.terminate()
        assert await asyncio.wait_for(process.wait(), ANSWER_S) == 0


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
