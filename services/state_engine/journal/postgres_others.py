"""Learns what other engines write to the same database: asked, by the heads of sessions, and unasked, by notifications.

Whoever reads a session from memory asks first where its log ends now. That takes a round trip, and callers share it: while one question is
on its way, the next collects. So the rate of reads is not bound to the rate of round trips, and an answer is never older than its question.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Final

import psycopg

from limbic.runtime.logs import get_logger
from services.state_engine.errors import JournalUnavailableError
from services.state_engine.journal.backoff import Backoff
from services.state_engine.journal.facts import Head, NumberedFact
from services.state_engine.journal.port import Told
from services.state_engine.journal.postgres_server import CHANNEL, AsyncConnection, Server, error_name, failure
from services.state_engine.metrics import RECONNECTS

_log = get_logger(__name__)

_HEADS: Final = (
    "SELECT session_id, session_key, revision FROM sessions JOIN heads USING (session_key) WHERE session_id = ANY(%s)"
)

ANSWER_WITHIN_S: Final = 5.0
"""A server that hangs is given up after this, and its connection with it."""

Since = Callable[[str, Head], Awaitable[list[NumberedFact] | None]]


class PostgresOthers:
    """See `Others`. For one event loop.

    Args:
        server: the database.
        origin: this engine's own name in notifications, which it does not listen to.
        since: reads facts.
    """

    def __init__(self, server: Server, origin: str, since: Since) -> None:
        self._server = server
        self._origin = origin
        self._since = since
        self._told: Told | None = None
        self._asked: dict[str, asyncio.Future[Head | None]] = {}
        self._any_asked = asyncio.Event()
        self._asking: AsyncConnection | None = None
        self._listening: AsyncConnection | None = None
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Connect, and listen from now on.

        Raises:
            psycopg.Error: there is no connection to be had.
        """
        self._asking, self._listening = await self._server.connect_async(), await self._connect_listening()
        self._tasks = [
            asyncio.create_task(self._ask(), name="journal-heads"),
            asyncio.create_task(self._listen(), name="journal-notifications"),
        ]

    async def stop(self) -> None:
        """Close both connections."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()
        for connection in (self._asking, self._listening):
            if connection is not None:
                await connection.close()

    def follow(self, told: Told) -> None:
        """Have `told` called whenever another engine has written."""
        self._told = told

    async def since(self, session_id: str, head: Head) -> list[NumberedFact] | None:
        """Return what was recorded after a head, in order, or None if the session with its key is gone."""
        return await self._since(session_id, head)

    async def head(self, session_id: str) -> Head | None:
        """Return where a session's log ends, or None if there is no such session."""
        future = self._asked.get(session_id)
        if future is None:
            future = self._asked[session_id] = asyncio.get_running_loop().create_future()
            self._any_asked.set()
        # Others may wait for it too, so it outlives a caller that goes away.
        return await asyncio.shield(future)

    async def _ask(self) -> None:
        backoff = Backoff()
        while True:
            await self._any_asked.wait()
            self._any_asked.clear()
            asked, self._asked = self._asked, {}
            try:
                heads = await self._heads(list(asked), backoff)
            except (psycopg.Error, TimeoutError, JournalUnavailableError) as error:
                _fail(asked.values(), error)
            else:
                for session_id, future in asked.items():
                    future.set_result(heads.get(session_id))

    async def _heads(self, session_ids: list[str], backoff: Backoff) -> dict[str, Head]:
        connection = self._asking
        if connection is None or connection.closed:
            if backoff.left_s:
                raise JournalUnavailableError("read")
            try:
                connection = self._asking = await self._server.connect_async()
            except psycopg.Error:
                backoff.failed()
                raise
            backoff.succeeded()
            RECONNECTS.labels("heads").inc()
        try:
            async with asyncio.timeout(ANSWER_WITHIN_S):
                rows = await (await connection.execute(_HEADS, (session_ids,))).fetchall()
        except TimeoutError:
            await connection.close()
            raise
        return {session_id: Head(key, revision) for session_id, key, revision in rows}

    async def _listen(self) -> None:
        backoff = Backoff()
        while True:
            try:
                connection = self._listening
                if connection is None or connection.closed:
                    await asyncio.sleep(backoff.left_s)
                    connection = self._listening = await self._connect_listening()
                    backoff.succeeded()
                    RECONNECTS.labels("notifications").inc()
                    self._tell(None)  # nobody knows what was written meanwhile
                async for note in connection.notifies():
                    origin, *session_ids = note.payload.split(" ")
                    for session_id in session_ids if origin != self._origin else ():
                        self._tell(session_id)
            except psycopg.Error as error:
                _log.warning("notifications interrupted", error=error_name(error))
                backoff.failed()

    async def _connect_listening(self) -> AsyncConnection:
        connection = await self._server.connect_async()
        try:
            await connection.execute(f"LISTEN {CHANNEL}")
        except psycopg.Error:
            await connection.close()
            raise
        return connection

    def _tell(self, session_id: str | None) -> None:
        if self._told is not None:
            self._told(session_id)


def _fail(futures: Iterable[asyncio.Future[Head | None]], error: Exception) -> None:
    if isinstance(error, psycopg.Error):
        _log.error("journal not read", error=error_name(error))
        error = failure(error, "read")
    elif isinstance(error, TimeoutError):
        _log.error("journal not read", error="no answer in time")
        error = JournalUnavailableError("read")
    for future in futures:
        future.set_exception(error)
        future.exception()  # its callers may all have gone
