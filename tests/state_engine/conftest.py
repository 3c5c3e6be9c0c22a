from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.state_engine.parts import Running, SetClock, running_engine


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
