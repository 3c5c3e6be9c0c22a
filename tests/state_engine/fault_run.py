"""Runs an engine over a disk whose N-th write or sync fails, for every N until a run meets no fault: see `test_disk_faults`.

To be run with the library of `faults.c` loaded before libc: `python -m tests.state_engine.fault_run FOLDER KIND`.
"""

from __future__ import annotations

import asyncio
import ctypes
import errno
import shutil
import sqlite3
import sys
from collections.abc import Awaitable, Callable
from contextlib import closing
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Final

from limbic.runtime.errors import NotFoundError
from services.state_engine.causes import Event, Reading
from services.state_engine.commands import AddStimulus, CreateSession, NewStimulus, RecordTurn, RetractStimulus
from services.state_engine.engine import Engine, EngineOptions
from services.state_engine.errors import JournalUnavailableError
from services.state_engine.journal import sqlite_file
from services.state_engine.journal.facts import Role, StimulusFact, TurnFact
from services.state_engine.journal.port import JournalOpenError
from services.state_engine.journal.sqlite import SqliteJournal
from services.state_engine.library import TemperamentLibrary
from services.state_engine.session import State
from tests.state_engine.parts import START_NS, SetClock

WRITES, SYNCS = 1, 2
OPTIONS = EngineOptions("default", keep_text=True, cached_sessions=10, facts_per_session=1_000)
CANARY = "canary-4711-in-a-coal-mine"
TRIES: Final = 3


@dataclass(frozen=True)
class Kind:
    """What fails: which calls, whether for good or once, whether half a write gets through, and with which error."""

    which: int
    stays: bool
    torn: bool
    error: int


KINDS = {
    "write-once": Kind(WRITES, stays=False, torn=False, error=errno.EIO),
    "write-torn": Kind(WRITES, stays=False, torn=True, error=errno.EIO),
    "disk-full": Kind(WRITES, stays=True, torn=True, error=errno.ENOSPC),
    "sync-once": Kind(SYNCS, stays=False, torn=False, error=errno.EIO),
    "sync-stays": Kind(SYNCS, stays=True, torn=False, error=errno.EIO),
}

Action = Callable[[Engine], Awaitable[object]]


def record(session: str, number: int) -> Action:
    stimuli = tuple(
        NewStimulus(
            f"stimuli[{part}]",
            f"f{number}-{part}",
            None,
            Reading(-0.3, 0.1 * part, 0.01 * number, 0.9, reasoning=CANARY),
        )
        for part in range(2)
    )
    command = RecordTurn(
        session, f"t{number}", "", Role.USER, START_NS + number, f"{CANARY} " * 50, cut=False, stimuli=stimuli
    )
    return lambda engine: engine.recording.turn(command)


def together(*actions: Action) -> Action:
    async def run(engine: Engine) -> None:
        outcomes = await asyncio.gather(*(action(engine) for action in actions), return_exceptions=True)
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome

    return run


ACTIONS: list[Action] = [
    lambda engine: engine.opening.create(CreateSession("s", None, None)),
    *(record("s", number) for number in range(6)),
    together(*(record("s", number) for number in range(6, 14))),
    lambda engine: engine.recording.stimulus(
        AddStimulus("s", "t3", NewStimulus("stimulus", "late", START_NS, Event("reward")))
    ),
    lambda engine: engine.recording.retraction(RetractStimulus("s", "f4-1")),
]
DOOMED: list[Action] = [
    lambda engine: engine.opening.create(CreateSession("doomed", None, None)),
    together(*(record("doomed", number) for number in range(4))),
]


def connect(path: Path) -> sqlite3.Connection:
    connection = sqlite_file.connect(path)
    # So that a few records meet a checkpoint too.
    connection.execute("PRAGMA wal_autocheckpoint = 8")
    return connection


class Disk:
    """The faults, as this process arms them."""

    def __init__(self) -> None:
        self._library = ctypes.CDLL(None)

    def arm(self, number: int, kind: Kind) -> None:
        self._library.fault_arm(number, kind.which, int(kind.stays), int(kind.torn), kind.error)

    def mend(self) -> None:
        self._library.fault_disarm()

    def failed(self) -> bool:
        return bool(self._library.fault_fired())


async def succeed(action: Action, engine: Engine) -> None:
    """Repeat an action, as a client does, until it is acknowledged. A fault that comes once refuses it once."""
    for left in reversed(range(TRIES)):
        try:
            await action(engine)
        except JournalUnavailableError:
            if not left:
                raise
        else:
            return


async def attempt(action: Action, engine: Engine) -> bool:
    """Do something, or be refused: because of the disk, or because what it builds on was refused before."""
    try:
        await action(engine)
    except (JournalUnavailableError, NotFoundError):
        return False
    return True


async def opened(path: Path) -> SqliteJournal:
    journal = SqliteJournal(path, SetClock(), capacity=100, connect=connect)
    await journal.start()
    return journal


async def state_of(engine: Engine) -> State:
    return await engine.state("s", "t9", START_NS + 10**12)


async def run(folder: Path, disk: Disk, number: int, kind: Kind, library: TemperamentLibrary) -> State:
    """Run everything once over a disk that fails at its N-th call; return the state in the end."""
    path = folder / "journal.sqlite3"
    disk.arm(number, kind)
    try:
        journal = await opened(path)
    except JournalOpenError:
        disk.mend()
        journal = await opened(path)
    engine = Engine(journal, library, SetClock(), OPTIONS)
    for action in (*ACTIONS, *DOOMED):
        acknowledged = await attempt(action, engine)
        log = await journal.load("s") if acknowledged else None
        if log is not None:
            # Nothing by half: a turn has its two stimuli or is not there.
            turns = [fact.turn_id for fact in log.facts if isinstance(fact, TurnFact)]
            felt = [fact.turn_id for fact in log.facts if isinstance(fact, StimulusFact) and fact.stimulus_id != "late"]
            assert sorted(felt) == sorted(turns * 2), (number, turns, felt)
    await attempt(lambda one: one.delete("doomed"), engine)
    if kind.stays:
        disk.mend()
    for action in ACTIONS:
        await succeed(action, engine)
    await succeed(lambda one: one.delete("doomed"), engine)
    assert await journal.load("doomed") is None
    live = await state_of(engine)
    await journal.stop()
    disk.mend()

    journal = await opened(path)
    again = await state_of(Engine(journal, library, SetClock(), OPTIONS))
    await journal.stop()
    assert live == again, number
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)], number
        assert connection.execute("SELECT count(*) FROM turns WHERE turn_id LIKE 't%'").fetchone() == (14,)
    return live


async def main(folder: Path, name: str) -> None:
    """Fail the first call, then the second, and so on; say how many runs met a fault."""
    disk, library, kind = Disk(), TemperamentLibrary(), KINDS[name]
    expected: State | None = None
    for number in count(1):
        place = folder / str(number)
        state = await run(place, disk, number, kind, library)
        assert expected is None or state == expected, number
        expected = state
        shutil.rmtree(place)
        if not disk.failed():
            print(number - 1)  # noqa: T201
            return


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2]))
