"""Facts that wait on disk for the state engine, in the order in which they happened."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TypeVar

from google.protobuf.any_pb2 import Any as AnyMessage

from gateway.metrics import SPOOL_BYTES, SPOOL_FACTS, SPOOL_MAX_BYTES, SPOOL_REFUSED
from gateway.ports import Fact, SpoolRefusedError
from gateway.spool_files import SpoolFiles
from limbic.runtime.logs import get_logger
from limbic.state.v1 import state_pb2

_log = get_logger(__name__)
_T = TypeVar("_T")

_KINDS: tuple[type[Fact], ...] = (
    state_pb2.CreateSessionRequest,
    state_pb2.RecordTurnRequest,
    state_pb2.AddStimulusRequest,
)


def pack(fact: Fact) -> bytes:
    """Return a fact as a record's payload."""
    packed = AnyMessage()
    packed.Pack(fact)
    return packed.SerializeToString()


def unpack(payload: bytes) -> Fact | None:
    """Return the fact of a record, or None if it is of a kind that this version does not know."""
    packed = AnyMessage.FromString(payload)
    for kind in _KINDS:
        fact = kind()
        if packed.Unpack(fact):
            return fact
    return None


class Spool:
    """A queue on disk. All file work is done by one thread, so that its order is the order of the calls.

    Args:
        directory: where the files lie; created with mode 0700.
        max_bytes: how much may lie there. Beyond it facts are refused.
    """

    def __init__(self, directory: Path, max_bytes: int) -> None:
        self._directory = directory
        self._max_bytes = max_bytes
        self._files: SpoolFiles | None = None
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="spool")
        self._waiting: Counter[str] = Counter()
        self._pending: list[tuple[Fact, asyncio.Future[None]]] = []
        self._writer: asyncio.Task[None] | None = None
        self._filled = asyncio.Event()

    async def open(self) -> None:
        """Open the files and count what waits there from before.

        Raises:
            SpoolLockedError: another process uses the directory.
            OSError: the directory cannot be used.
        """
        self._files = await self._in_thread(partial(SpoolFiles, self._directory, self._max_bytes))
        files = self._files
        SPOOL_MAX_BYTES.set(self._max_bytes)
        SPOOL_BYTES.set_function(lambda: files.size_bytes)
        for session_id in await self._in_thread(self._sessions_on_disk):
            self._count(session_id, 1)
            self._filled.set()

    async def close(self) -> None:
        """Write what is still to be written, and let go of the files."""
        if self._writer is not None:
            await self._writer
        if self._files is not None:
            await self._in_thread(self._files.close)
        self._executor.shutdown()
        SPOOL_FACTS.set(0)

    def __len__(self) -> int:
        return self._waiting.total()

    def holds(self, session_id: str) -> bool:
        """Tell whether a fact of this session waits, or is about to."""
        return session_id in self._waiting

    async def wait_filled(self) -> None:
        """Wait until a fact is there."""
        await self._filled.wait()

    def look_again(self) -> None:
        """Wake whoever waits for a fact, although none has come."""
        self._filled.set()

    async def append(self, fact: Fact) -> None:
        """Keep a fact; it is durable when this returns. Facts that come at the same time share one write.

        Raises:
            SpoolRefusedError: there is no room, or the disk cannot be written.
        """
        written = asyncio.get_running_loop().create_future()
        self._count(fact.session_id, 1)
        self._pending.append((fact, written))
        if self._writer is None:
            self._writer = asyncio.create_task(self._write_pending(), name="spool-writer")
        await written

    async def first(self) -> Fact | None:
        """Return the oldest fact, or None if there is none. A record of an unknown kind is set aside."""
        files = self._opened()
        # Before looking: what comes while we look sets it again.
        self._filled.clear()
        while (payload := await self._in_thread(files.peek)) is not None:
            fact = unpack(payload)
            if fact is not None:
                return fact
            _log.error("a spooled fact is of a kind that this version does not know; it was set aside")
            await self._in_thread(partial(files.set_aside, payload))
            await self._in_thread(files.acknowledge)
        return None

    async def done(self, fact: Fact) -> None:
        """Remove the oldest fact, which the engine has taken."""
        await self._in_thread(self._opened().acknowledge)
        self._count(fact.session_id, -1)

    async def reject(self, fact: Fact) -> None:
        """Remove the oldest fact, which the engine has refused for good, and keep it in a file of its own."""
        files = self._opened()
        await self._in_thread(partial(files.set_aside, pack(fact)))
        await self.done(fact)

    async def _write_pending(self) -> None:
        while self._pending:
            batch, self._pending = self._pending, []
            try:
                await self._in_thread(partial(self._opened().append, [pack(fact) for fact, _ in batch]))
            except OSError as error:
                _log.error("the spool cannot keep facts", facts=len(batch), error=str(error))
                for fact, written in batch:
                    SPOOL_REFUSED.inc()
                    self._count(fact.session_id, -1)
                    if not written.done():
                        written.set_exception(SpoolRefusedError("the spool cannot keep the fact"))
            else:
                self._filled.set()
                for _, written in batch:
                    if not written.done():
                        written.set_result(None)
        self._writer = None

    def _sessions_on_disk(self) -> list[str]:
        facts = (unpack(payload) for payload in self._opened().records())
        return [fact.session_id for fact in facts if fact is not None]

    def _count(self, session_id: str, step: int) -> None:
        self._waiting[session_id] += step
        if self._waiting[session_id] <= 0:
            del self._waiting[session_id]
        SPOOL_FACTS.set(len(self))

    def _opened(self) -> SpoolFiles:
        if self._files is None:
            raise RuntimeError("the spool is not open")
        return self._files

    async def _in_thread(self, work: Callable[[], _T]) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._executor, work)
