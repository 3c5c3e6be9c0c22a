"""Group commit: one thread writes what many callers wait for, in one transaction with one fsync.

While a commit runs, what arrives waits; the next commit takes all of it. So the rate of records is not bound to the rate of fsyncs, and
a lone caller waits for nothing but its own.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from limbic.runtime.errors import LimbicError
from limbic.runtime.logs import get_logger
from services.state_engine.errors import JournalBusyError, JournalUnavailableError
from services.state_engine.journal.facts import Fact, Origin, SessionFact, Snapshot
from services.state_engine.journal.port import JournalConflictError, Settled
from services.state_engine.metrics import COMMIT_APPENDS, QUEUE_DEPTH

_log = get_logger(__name__)

LARGEST_BATCH = 512
"""Appends in one transaction: bounds how long the first of them waits for the last."""

Outcome = int | LimbicError | JournalConflictError
"""The session's revision after an append or a copy, how many facts a deletion took, how many snapshots were written; or why nothing was."""


@dataclass(frozen=True, slots=True, eq=False)
class Append:
    """Facts that stand or fall together, and who waits for them. With a `key`, only for the session that has it."""

    session_id: str
    facts: Sequence[Fact]
    key: int | None
    settled: Settled
    future: asyncio.Future[int]


@dataclass(frozen=True, slots=True, eq=False)
class Keeping:
    """A snapshot that is to take the place of the one before, and who waits for it. With a `key`, only for the session that has it."""

    session_id: str
    snapshot: Snapshot
    key: int | None
    settled: Settled
    future: asyncio.Future[int]


@dataclass(frozen=True, slots=True, eq=False)
class Copying:
    """A session that is to begin with a part of another one, and who waits for it."""

    opening: SessionFact
    origin: Origin
    settled: Settled
    future: asyncio.Future[int]


@dataclass(frozen=True, slots=True, eq=False)
class Deletion:
    """A session that is to be deleted, if nothing was recorded of it at `untouched_since_ns` or later; and who waits for it."""

    session_id: str
    untouched_since_ns: int | None
    settled: Settled
    future: asyncio.Future[int]


Alone = Copying | Deletion | Keeping
"""What has a transaction of its own."""


class BatchWriter(Protocol):
    """Writes batches; used by one thread only, which also opens and closes it. Never raises for a fault of the store."""

    def write(self, batch: Sequence[Append]) -> list[Outcome]:
        """Make a batch durable and return one outcome for each of its appends."""
        ...

    def delete(self, deletion: Deletion) -> Outcome:
        """Delete a session and whatever is left of it elsewhere in the store."""
        ...

    def copy(self, work: Copying) -> Outcome:
        """Make a session from a part of another one."""
        ...

    def keep(self, keeping: Keeping) -> Outcome:
        """Write a snapshot; 0 if there is no such session."""
        ...

    def close(self) -> None:
        """Close what it holds."""
        ...


class GroupCommit:
    """The writer thread and its bounded queue.

    Args:
        open_writer: called in the thread.
        capacity: appends that may wait.
    """

    def __init__(self, open_writer: Callable[[], BatchWriter], capacity: int) -> None:
        self._open_writer = open_writer
        self._capacity = capacity
        self._queue: queue.SimpleQueue[Append | Alone | None] = queue.SimpleQueue()
        self._held: Alone | None = None
        self._waiting = 0
        self._thread: threading.Thread | None = None

    async def start(self) -> None:
        """Start the thread and wait until its writer is open; raises what opening it raised."""
        loop = asyncio.get_running_loop()
        opened: asyncio.Future[None] = loop.create_future()
        self._thread = threading.Thread(target=self._run, args=(loop, opened), name="journal-writer", daemon=True)
        self._thread.start()
        await opened
        QUEUE_DEPTH.set_function(lambda: self._waiting)

    async def stop(self) -> None:
        """Write what waits, then end the thread."""
        if self._thread is not None:
            self._queue.put(None)
            await asyncio.to_thread(self._thread.join)
            self._thread = None

    def append(
        self, session_id: str, facts: Sequence[Fact], settled: Settled, key: int | None = None
    ) -> asyncio.Future[int]:
        """Queue an append. See `Journal.append`."""
        future = self._admit()
        self._queue.put(Append(session_id, facts, key, settled, future))
        return future

    def delete(self, session_id: str, settled: Settled, untouched_since_ns: int | None) -> asyncio.Future[int]:
        """Queue a deletion, behind all that waits. See `Journal.delete`."""
        future = self._admit()
        self._queue.put(Deletion(session_id, untouched_since_ns, settled, future))
        return future

    def copy(self, opening: SessionFact, origin: Origin, settled: Settled) -> asyncio.Future[int]:
        """Queue a copy, behind all that waits. See `Journal.copy`."""
        future = self._admit()
        self._queue.put(Copying(opening, origin, settled, future))
        return future

    def keep(self, session_id: str, snapshot: Snapshot, key: int | None = None) -> asyncio.Future[int]:
        """Queue a snapshot, behind all that waits. See `Journal.keep`."""
        future = self._admit()
        self._queue.put(Keeping(session_id, snapshot, key, _nobody, future))
        return future

    def _admit(self) -> asyncio.Future[int]:
        if self._waiting >= self._capacity:
            raise JournalBusyError
        self._waiting += 1
        return asyncio.get_running_loop().create_future()

    def _run(self, loop: asyncio.AbstractEventLoop, opened: asyncio.Future[None]) -> None:
        try:
            writer = self._open_writer()
        except Exception as error:  # noqa: BLE001
            # Whatever it is, it belongs to whoever awaits start().
            loop.call_soon_threadsafe(opened.set_exception, error)
            return
        loop.call_soon_threadsafe(opened.set_result, None)
        try:
            while batch := self._next_batch():
                loop.call_soon_threadsafe(self._settle, batch, self._write(writer, batch))
        finally:
            writer.close()

    def _write(self, writer: BatchWriter, batch: list[Append] | Alone) -> list[Outcome]:
        try:
            if isinstance(batch, Copying):
                return [writer.copy(batch)]
            if isinstance(batch, Keeping):
                return [writer.keep(batch)]
            return [writer.delete(batch)] if isinstance(batch, Deletion) else writer.write(batch)
        except Exception as error:  # noqa: BLE001
            # A thread that died here would leave every later caller waiting. The type is safe to log, the values are not.
            _log.error("the journal's writer failed", error=type(error).__name__)
            return [JournalUnavailableError("written") for _ in _parts(batch)]

    def _next_batch(self) -> list[Append] | Alone:
        """Return appends that came one after the other, or what has a transaction of its own; no appends at the end."""
        if self._held is not None:
            held, self._held = self._held, None
            return held
        batch: list[Append] = []
        work = self._queue.get()
        while work is not None:
            if not isinstance(work, Append):
                if not batch:
                    return work
                self._held = work
                return batch
            batch.append(work)
            if len(batch) == LARGEST_BATCH:
                return batch
            try:
                work = self._queue.get_nowait()
            except queue.Empty:
                return batch
        if batch:
            # The end came behind them; it is taken up again after they are written.
            self._queue.put(None)
        return batch

    def _settle(self, batch: list[Append] | Alone, outcomes: Sequence[Outcome]) -> None:
        self._waiting -= len(outcomes)
        if isinstance(batch, list):
            COMMIT_APPENDS.observe(len(batch))
        for work, outcome in zip(_parts(batch), outcomes, strict=True):
            work.settled(outcome if isinstance(outcome, int) else None)
            if work.future.done():
                continue  # its caller has gone
            if isinstance(outcome, int):
                work.future.set_result(outcome)
            else:
                work.future.set_exception(outcome)


def _parts(batch: list[Append] | Alone) -> Sequence[Append | Alone]:
    return batch if isinstance(batch, list) else [batch]


def _nobody(outcome: int | None) -> None:
    """Whoever waits for a snapshot waits for its future."""
