"""A disk without room, and a log whose end is lost: a clear status, nothing by half, and no hand needed once there is room."""

from __future__ import annotations

import resource
import shutil
import sqlite3
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import grpc
import pytest

from limbic.runtime.channels import open_channel
from limbic.runtime.errors import failure_of
from limbic.state.v1 import state_pb2, state_pb2_grpc
from services.state_engine.causes import Event
from services.state_engine.journal import sqlite_file
from services.state_engine.journal.facts import Fact, SessionLog, StimulusFact
from services.state_engine.journal.sqlite import SqliteJournal
from tests.state_engine.calls import felt
from tests.state_engine.parts import SetClock
from tests.state_engine.processes import ANSWER_S, engine_process, until_serving
from tests.state_engine.stores import SESSION, ignore, turn

ROOM = 3 * 1024 * 1024
APPENDS = 24

Room = Callable[[int], object]
"""Makes room for the engine of a process id."""


@contextmanager
def small_disk(folder: Path) -> Iterator[Room]:
    """Mount a file system of its own that ballast fills in part; room is made by throwing the ballast away."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={ROOM}", "tmpfs", folder], check=True)
    try:
        ballast = folder / "ballast"
        ballast.write_bytes(bytes(ROOM // 2))
        yield lambda engine: ballast.unlink()
    finally:
        subprocess.run(["umount", folder], check=True)


@contextmanager
def small_files(folder: Path) -> Iterator[Room]:
    """Let no file grow beyond a limit, which is then raised. The engine's own limit is set once it runs."""
    yield lambda engine: resource.prlimit(
        engine, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
    )


def may_mount() -> bool:
    with tempfile.TemporaryDirectory() as folder:
        done = (
            subprocess.run(["mount", "-t", "tmpfs", "tmpfs", folder], capture_output=True, check=False).returncode == 0
        )
        if done:
            subprocess.run(["umount", folder], check=True)
        return done


def request_of(number: int) -> state_pb2.RecordTurnRequest:
    return state_pb2.RecordTurnRequest(
        session_id="s", turn_id=f"t{number}", parent_turn_id="", text="w" * 20_000, stimuli=[felt(f"f{number}")]
    )


# Whoever may not mount a file system has the limit alone, which fails the same writes.
@pytest.mark.parametrize("disk", [small_files, small_disk] if may_mount() else [small_files])
async def test_a_full_disk_is_said_clearly_and_recovered_from_without_a_hand(
    disk: Callable[[Path], AbstractContextManager[Room]], tmp_path: Path
) -> None:
    with disk(tmp_path) as make_room:
        address = f"unix:{tmp_path / 'engine.socket'}"
        async with engine_process(tmp_path) as process, open_channel(address) as channel:
            stub = state_pb2_grpc.StateEngineServiceStub(channel)
            await until_serving(channel)
            if disk is small_files:
                resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (ROOM // 2, resource.RLIM_INFINITY))
            await stub.CreateSession(state_pb2.CreateSessionRequest(session_id="s"), timeout=ANSWER_S)
            acknowledged: set[int] = set()
            refused: set[int] = set()
            for number in range(1_000):
                try:
                    await stub.RecordTurn(request_of(number), timeout=ANSWER_S)
                    acknowledged.add(number)
                except grpc.aio.AioRpcError as error:
                    failure = failure_of(error)
                    assert (failure.code, failure.reason) == (grpc.StatusCode.UNAVAILABLE, "JOURNAL_UNAVAILABLE")
                    assert failure.retry_after
                    refused.add(number)
                if len(refused) == 10:
                    break
            assert len(acknowledged) > 10
            assert len(refused) == 10
            full = await stub.GetState(state_pb2.GetStateRequest(session_id="s"), timeout=ANSWER_S)
            assert full.state.revision == 1 + 2 * len(acknowledged)

            make_room(process.pid)
            for number in sorted(refused):
                assert not (await stub.RecordTurn(request_of(number), timeout=ANSWER_S)).duplicate
            process.kill()
        async with engine_process(tmp_path), open_channel(address) as channel:
            stub = state_pb2_grpc.StateEngineServiceStub(channel)
            await until_serving(channel)
            state = (await stub.GetState(state_pb2.GetStateRequest(session_id="s"), timeout=ANSWER_S)).state
            assert state.revision == 1 + 2 * (len(acknowledged) + len(refused))
            for number in sorted(acknowledged | refused):
                assert (await stub.RecordTurn(request_of(number), timeout=ANSWER_S)).duplicate


async def reopened(files: Path, place: Path, wal: bytes) -> SessionLog | None:
    """Open a copy of a journal with this write-ahead log, and see that it can be used."""
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(files, place)
    (place / "journal.sqlite3-wal").write_bytes(wal)
    (place / "journal.sqlite3-shm").unlink()
    journal = SqliteJournal(place / "journal.sqlite3", SetClock(), capacity=10)
    await journal.start()
    try:
        log = await journal.load("s")
        if log is not None:
            assert await journal.append("s", [turn(9_999)], ignore) == log.revision + 1
        return log
    finally:
        await journal.stop()


async def test_a_log_that_lost_its_end_holds_what_came_before_and_nothing_by_half(tmp_path: Path) -> None:
    def connect(path: Path) -> sqlite3.Connection:
        connection = sqlite_file.connect(path)
        connection.execute("PRAGMA wal_autocheckpoint = 0")
        return connection

    path = tmp_path / "live" / "journal.sqlite3"
    journal = SqliteJournal(path, SetClock(), capacity=10, connect=connect)
    await journal.start()
    appends: list[list[Fact]] = [[SESSION]]
    appends += [[turn(n), StimulusFact(f"e{n}", f"t{n}", 1, 2, Event("x" * 3_000))] for n in range(1, APPENDS)]
    ends = []
    for facts in appends:
        await journal.append("s", facts, ignore)
        ends.append((path.parent / "journal.sqlite3-wal").stat().st_size)
    shutil.copytree(path.parent, tmp_path / "copy")
    await journal.stop()
    wal = (tmp_path / "copy" / "journal.sqlite3-wal").read_bytes()
    frame = 4096 + 24
    lengths = {0, 31, 32, len(wal)} | {end + part for end in ends for part in (-frame, -1, 0, 1, frame // 2)}

    for length in sorted(one for one in lengths if one <= len(wal)):
        log = await reopened(tmp_path / "copy", tmp_path / "place", wal[:length])
        whole = sum(end <= length for end in ends)
        held = (
            []
            if log is None
            else [[log.session], *([log.facts[n], log.facts[n + 1]] for n in range(0, len(log.facts), 2))]
        )
        assert held == appends[:whole], length

    for end in ends[3::5]:
        # A byte that has changed ends the log there.
        damaged = bytearray(wal)
        damaged[end - 1_000] ^= 1
        log = await reopened(tmp_path / "copy", tmp_path / "place", bytes(damaged))
        assert log is not None
        assert log.revision == 1 + 2 * (ends.index(end) - 1)
