from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.state_engine.parts import Running, SetClock, running_engine
from tests.state_engine.postgres import PostgresServer
from tests.state_engine.stores import PostgresStore, SqliteStore, Store


@pytest.fixture
def clock() -> SetClock:
    return SetClock()


@pytest.fixture
def journal_path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "journal.sqlite3"


@pytest.fixture
async def engine(journal_path: Path, clock: SetClock) -> AsyncIterator[Running]:
    async with running_engine(journal_path, clock) as running:
        yield running


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    server = PostgresServer()
    yield server
    server.remove()


@pytest.fixture(params=["sqlite", "postgresql"])
def store(request: pytest.FixtureRequest, journal_path: Path) -> Store:
    """Each journal in turn, empty."""
    if request.param == "sqlite":
        return SqliteStore(journal_path)
    server: PostgresServer = request.getfixturevalue("postgres")
    return PostgresStore(server.new_database())
