"""The two journals as one thing to test, and facts to put into them."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any, Protocol

import psycopg

from services.state_engine.causes import AxisUncertainty, Emotions, Event, HeadIdentity, Reading
from services.state_engine.journal import sqlite_file
from services.state_engine.journal.facts import Role, SessionFact, StimulusFact, TurnFact
from services.state_engine.journal.migrate import Dialect
from services.state_engine.journal.port import Journal
from services.state_engine.journal.postgres import PostgresJournal
from services.state_engine.journal.sqlite import SqliteJournal
from tests.state_engine.parts import SetClock

TEXT = "description = 'a temperament'"
SESSION = SessionFact("s", "default", "digest", TEXT, True, 17)
READING = StimulusFact(
    "reading",
    "t1",
    1,
    2,
    Reading(
        valence=-1 / 3,
        intimacy=0.1 + 0.2,
        tension=5e-324,
        confidence=0.7,
        uncertainty=AxisUncertainty(0.1, 0.2, 0.30000000000000004),
        emotions=Emotions(("grief", "joy"), (2 / 3, 1e-17), (True, False)),
        head=HeadIdentity("head", "Q4_0", "2"),
        truncated=True,
        reasoning="because",
        latency_ns=123,
    ),
)
EVENT = StimulusFact("event", "t1", 1, 3, Event("reward", 0.1))


def turn(number: int, parent: str = "") -> TurnFact:
    return TurnFact(
        f"t{number}", parent, Role.ASSISTANT, 100 + number, 200 + number, f"words {number} ✓", number % 2 == 0
    )


def ignore(revision: int | None) -> None:
    """Nobody has to be told."""


class Store(Protocol):
    """Where a journal is kept."""

    dialect: Dialect
    url: str

    def journal(self, capacity: int = 1_000) -> Journal: ...

    def execute(self, statements: Iterable[str]) -> None:
        """Do something to the tables behind the journal's back."""
        ...

    def rows(self, query: str) -> list[tuple[Any, ...]]: ...

    def bytes_literal(self, digits: str) -> str:
        """Return hexadecimal digits as SQL writes bytes."""
        ...


class SqliteStore:
    dialect: Dialect = "sqlite"

    def __init__(self, path: Path) -> None:
        self.path = path
        self.url = f"sqlite:///{path}"

    def journal(self, capacity: int = 1_000) -> Journal:
        return SqliteJournal(self.path, SetClock(), capacity=capacity)

    def execute(self, statements: Iterable[str]) -> None:
        sqlite_file.prepare(self.path)
        with closing(sqlite3.connect(self.path, isolation_level=None)) as connection:
            for statement in statements:
                connection.executescript(statement)

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        with closing(sqlite3.connect(self.path)) as connection:
            return connection.execute(query).fetchall()

    def bytes_literal(self, digits: str) -> str:
        return f"x'{digits}'"


class PostgresStore:
    dialect: Dialect = "postgresql"

    def __init__(self, url: str) -> None:
        self.url = url

    def journal(self, capacity: int = 1_000) -> Journal:
        return PostgresJournal(self.url, SetClock(), capacity=capacity)

    def execute(self, statements: Iterable[str]) -> None:
        with psycopg.connect(self.url, autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement)

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.url, autocommit=True) as connection:
            return connection.execute(query).fetchall()

    def bytes_literal(self, digits: str) -> str:
        return f"'\\x{digits}'::bytea"


@asynccontextmanager
async def opened(store: Store, capacity: int = 1_000) -> AsyncIterator[Journal]:
    """Open a store's journal for the length of a block."""
    journal = store.journal(capacity)
    await journal.start()
    try:
        yield journal
    finally:
        await journal.stop()
