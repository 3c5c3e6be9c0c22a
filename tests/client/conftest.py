from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from limbic.runtime.clock import SystemClock
from limbic.runtime.settings import StateSettings
from services.state_engine.server import build_service
from tests.gateway.backend_servers import Backend
from tests.gateway.conftest import House, short_directory

__all__ = ["short_directory"]


@dataclass(frozen=True)
class Addresses:
    """Where a gateway and a state engine answer."""

    gateway: str
    state_engine: str


@pytest.fixture
async def together(short_directory: Path) -> AsyncIterator[Addresses]:
    """A real gateway before a real state engine; the head and the model are scripted."""
    house = House(short_directory)
    settings = StateSettings(journal_url=f"sqlite:///{short_directory / 'journal.sqlite3'}")
    house.engine_backend = Backend(build_service(settings, SystemClock()), f"{short_directory}/state")
    for backend in house.backends:
        await backend.start()
    await house.start()
    yield Addresses(house.settings.listen, house.engine_backend.target)
    await house.stop()
    for backend in house.backends:
        await backend.stop()


@pytest.fixture
def address(together: Addresses) -> str:
    """Where the state engine answers."""
    return together.state_engine
