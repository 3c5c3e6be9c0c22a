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
from services.state_engine.journal.facts import Fact
from services.state_engine.journal.port import JournalConflictError, Settled
from services.state_engine.metrics import COMMIT_APPENDS, QUEUE_DEPTH

_log = get_logger(__name__)

LARGEST_BATCH = 512
"""Appends in one transaction: bounds how long the first of them waits for the last."""

Outcome = int | LimbicError | JournalConflictError
"""The session's revision after an append, or why it was not recorded."""


@dataclass(frozen=True, slots=True, eq=False)
class Append:
    """Facts that stand or fall together, and who waits for them."""

    session_id: str
    facts: Sequence[Fact]
    settled: Settled
    future: asyncio.Future[int]


class BatchWriter(Protocol):
    """Writes batches; used by one thread only, which also opens and closes it."""

    def write(self, batch: Sequence[Append]) -> list[Outcome]:
        """Make a batch durable and return one outcome for each of its appends. Never raises for a fault of the store."""
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
        self._queue: queue.SimpleQueue[Append | None] = queue.SimpleQueue()
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

    def submit(self, session_id: str, facts: Sequence[Fact], settled: Settled) -> asyncio.Future[int]:
        """Queue an append. See `Journal.append`."""
        if self._waiting >= self._capacity:
            raise JournalBusyError
        self._waiting += 1
        future = asyncio.get_running_loop().create_future()
        self._queue.put(Append(session_id, facts, settled, future))
        return future

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

    def _write(self, writer: BatchWriter, batch: Sequence[Append]) -> list[Outcome]:
        try:
            return writer.write(batch)
        except Exception as error:  # noqa: BLE001
            # A thread that died here would leave every later caller waiting. The type is safe to log, the values are not.
            _log.error("the journal's writer failed", error=type(error).__name__, appends=len(batch))
            return [JournalUnavailableError("written") for _ in batch]

    def _next_batch(self) -> list[Append]:
        batch: list[Append] = []
        append = self._queue.get()
        while append is not None:
            batch.append(append)
            if len(batch) == LARGEST_BATCH:
                return batch
            try:
                append = self._queue.get_nowait()
            except queue.Empty:
                return batch
        if batch:
            # The end came behind them; it is taken up again after they are written.
            self._queue.put(None)
        return batch

    def _settle(self, batch: Sequence[Append], outcomes: Sequence[Outcome]) -> None:
        self._waiting -= len(batch)
        COMMIT_APPENDS.observe(len(batch))
        for append, outcome in zip(batch, outcomes, strict=True):
            append.settled(outcome if isinstance(outcome, int) else None)
            if append.future.done():
                continue  # its caller has gone
            if isinstance(outcome, int):
                append.future.set_result(outcome)
            else:
                append.future.set_exception(outcome)
