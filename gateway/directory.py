"""Remembers in which session which words were said, as hashes on disk, for conversations that nothing names.

Such a conversation is named by how it begins. Once a front end leaves its beginning out, that cannot be computed any more; then it is
found by what is left of it: by pairs of messages that follow each other. A cache of what the journal has, but one that the journal
cannot be asked for: without it, a long conversation would begin anew when the gateway is restarted.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TypeVar

from limbic.runtime.clock import Clock
from limbic.runtime.logs import get_logger

_log = get_logger(__name__)
_T = TypeVar("_T")

MAX_PAIRS = 500_000
"""Pairs that are kept, the ones used last: about 60 MB, a hundred thousand messages of each of some people."""

_SHARED_PAIRS = 2
"""What a history must share with a conversation to be it. One pair, such as a greeting and its answer, stands in many."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS pairs (digest BLOB PRIMARY KEY, session_id TEXT NOT NULL, used_ns INTEGER NOT NULL) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS pairs_used ON pairs (used_ns);
"""


class Directory:
    """The pairs of messages of unnamed conversations. All file work is done by one thread.

    Args:
        path: the file; created with mode 0600.
        clock: says which pairs were used last.
        max_pairs: how many are kept.
    """

    def __init__(self, path: Path, clock: Clock, max_pairs: int = MAX_PAIRS) -> None:
        self._path = path
        self._clock = clock
        self._max_pairs = max_pairs
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="directory")
        self._database: sqlite3.Connection | None = None
        self._held = 0

    async def open(self) -> None:
        """Open the file.

        Raises:
            OSError: it cannot be used.
        """
        try:
            self._database = await self._in_thread(self._connect)
        except sqlite3.Error as error:
            raise OSError(f"{self._path} cannot be used ({error}); it is a cache, and may be removed") from None

    async def close(self) -> None:
        """Close the file."""
        if self._database is not None:
            await self._in_thread(self._database.close)
        self._executor.shutdown()

    async def find(self, digests: Sequence[bytes]) -> str | None:
        """Return the session that shares most of these pairs, if it shares enough; of several the one used last."""
        if len(digests) < _SHARED_PAIRS:
            return None
        try:
            return await self._in_thread(partial(self._find, tuple(digests)))
        except sqlite3.Error as error:
            _log.error("the directory of conversations cannot be read", error=str(error))
            return None

    async def note(self, session_id: str, digests: Sequence[bytes]) -> None:
        """Remember that these pairs were said in a session; the last one to whom a pair is noted has it."""
        if not digests:
            return
        try:
            await self._in_thread(partial(self._note, session_id, tuple(digests)))
        except sqlite3.Error as error:
            _log.error("the directory of conversations cannot be written", error=str(error))

    def _connect(self) -> sqlite3.Connection:
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._path.touch(mode=0o600)
        # Transactions are begun by hand. NORMAL: after a power cut the last ones may be missing, which matters little.
        database = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False)
        database.execute("PRAGMA journal_mode=WAL")
        database.execute("PRAGMA synchronous=NORMAL")
        database.executescript(_SCHEMA)
        # What is replaced is counted again: an upper bound, until it reaches the limit.
        self._held = _count(database)
        return database

    def _find(self, digests: tuple[bytes, ...]) -> str | None:
        marks = ",".join("?" * len(digests))
        row = self._opened().execute(
            f"SELECT session_id FROM pairs WHERE digest IN ({marks}) GROUP BY session_id HAVING count(*) >= ?"
            " ORDER BY count(*) DESC, max(used_ns) DESC LIMIT 1",
            (*digests, _SHARED_PAIRS),
        )
        found = row.fetchone()
        return None if found is None else str(found[0])

    def _note(self, session_id: str, digests: tuple[bytes, ...]) -> None:
        database, now_ns = self._opened(), self._clock.now_ns()
        rows = [(digest, session_id, now_ns) for digest in digests]
        database.execute("BEGIN")
        try:
            database.executemany("INSERT OR REPLACE INTO pairs VALUES (?, ?, ?)", rows)
            self._held += len(rows)
            if self._held > self._max_pairs:
                self._held = self._shrunk(database)
            database.execute("COMMIT")
        except sqlite3.Error:
            database.execute("ROLLBACK")
            raise

    def _shrunk(self, database: sqlite3.Connection) -> int:
        """Remove the oldest pairs if there are too many, and return how many are left."""
        held = _count(database)
        if held <= self._max_pairs:
            return held
        # A tenth more than needed, so that not every turn has to look for the oldest.
        oldest = held - self._max_pairs + self._max_pairs // 10
        database.execute(
            "DELETE FROM pairs WHERE digest IN (SELECT digest FROM pairs ORDER BY used_ns LIMIT ?)", (oldest,)
        )
        return held - oldest

    def _opened(self) -> sqlite3.Connection:
        if self._database is None:
            raise RuntimeError("the directory is not open")
        return self._database

    async def _in_thread(self, work: Callable[[], _T]) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._executor, work)


def _count(database: sqlite3.Connection) -> int:
    return int(database.execute("SELECT count(*) FROM pairs").fetchone()[0])
