from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from limbic.client import LimbicClient
from tests.end_to_end.calls import Calls
from tests.end_to_end.stack import Stack, running_stack


@pytest.fixture(scope="session")
def stack() -> Iterator[Stack]:
    """The four processes, started once for all tests that use them."""
    with running_stack() as stack:
        yield stack


@pytest.fixture
async def client(stack: Stack) -> AsyncIterator[LimbicClient]:
    settings = stack.settings
    async with LimbicClient(settings.gateway.listen, settings.state.listen) as client:
        yield client


@pytest.fixture
async def calls(stack: Stack) -> AsyncIterator[Calls]:
    calls = Calls(stack)
    yield calls
    await calls.close()
