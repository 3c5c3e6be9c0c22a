"""Items worked on side by side: order of readiness, the bound, and that nothing is left behind."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from services.affect_head.stream import as_ready


async def items(*values: int) -> AsyncIterator[int]:
    for value in values:
        yield value


async def test_results_come_in_the_order_in_which_they_are_ready() -> None:
    first_may_go = asyncio.Event()

    async def work(item: int) -> int:
        if item == 1:
            await first_may_go.wait()
        return item * 10

    results = as_ready(items(1, 2), work, limit=2)
    assert await anext(results) == 20
    first_may_go.set()
    assert [result async for result in results] == [10]


async def test_as_many_as_the_limit_at_once_and_no_more() -> None:
    three = asyncio.Barrier(3)
    running = most = 0

    async def work(item: int) -> int:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await three.wait()
        running -= 1
        return item

    results = [result async for result in as_ready(items(*range(21)), work, limit=3)]

    assert sorted(results) == list(range(21))
    assert most == 3


async def test_a_stream_that_fails_takes_its_work_with_it() -> None:
    stopped = asyncio.Event()

    async def failing() -> AsyncIterator[int]:
        yield 1
        raise ValueError("broken off")

    async def work(_: int) -> int:
        try:
            await asyncio.Event().wait()
        finally:
            stopped.set()
        return 0

    with pytest.raises(ValueError, match="broken off"):
        [result async for result in as_ready(failing(), work, limit=2)]

    assert stopped.is_set()


async def test_closing_it_early_stops_the_work_and_the_waiting_for_more() -> None:
    async def endless() -> AsyncIterator[int]:
        yield 1
        yield 2
        await asyncio.Event().wait()

    async def work(item: int) -> int:
        if item == 2:
            await asyncio.Event().wait()
        return item

    results = as_ready(endless(), work, limit=3)
    assert await anext(results) == 1
    await results.aclose()

    assert len(asyncio.all_tasks()) == 1


async def test_an_empty_stream_ends() -> None:
    async def work(item: int) -> int:
        return item

    assert [result async for result in as_ready(items(), work, limit=1)] == []
