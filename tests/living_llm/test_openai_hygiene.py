"""Nothing is left behind, whatever a server does and whenever a client goes away: no connection, no task, no handle."""

from __future__ import annotations

import asyncio

import psutil
import pytest

from tests.living_llm import misbehaviour as wrong
from tests.living_llm.fake_openai import Exchange, FakeOpenAI, Script, say_hello
from tests.living_llm.service import hear, openai_settings, request, serving

EARLY = (
    wrong.reset,
    wrong.error_object,
    wrong.bare_error,
    wrong.half_a_character,
    wrong.just_end,
    wrong.no_json,
    wrong.no_utf8,
    wrong.enormous_chunk,
    wrong.endless_line,
    wrong.empty_reply,
    wrong.only_thoughts,
    wrong.comments,
    wrong.hang,
)
LATE = (
    wrong.reset,
    wrong.error_object,
    wrong.half_a_character,
    wrong.just_end,
    wrong.no_json,
    wrong.no_utf8,
    wrong.enormous_chunk,
    wrong.endless_line,
    wrong.hang,
    wrong.comments,
    wrong.trickling_bytes,
    wrong.trickle,
)
SCRIPTS = {
    "well": say_hello,
    "hangs before the headers": wrong.hang,
    "429": wrong.refusing(429, "busy"),
    "429 with Retry-After": wrong.refusing(429, "busy", retry_after="60"),
    "503 loading": wrong.refusing(503, {"message": "Loading model"}),
    "500 with a long body": wrong.enormous_refusal,
    "400": wrong.refusing(400, "bad"),
    "html": wrong.html,
    "html of a proxy": wrong.html_of_a_proxy,
    "in one piece": wrong.whole_reply,
    **{f"early {then.__name__}": wrong.begun(then) for then in EARLY},
    **{f"late {then.__name__}": wrong.saying_first(then) for then in LATE},
}


REPLIES = 5


def held() -> tuple[int, int]:
    """Tasks of this loop and handles of this process."""
    return len(asyncio.all_tasks()), psutil.Process().num_fds()


@pytest.mark.parametrize("script", SCRIPTS.values(), ids=SCRIPTS.keys())
async def test_nothing_is_left_of_a_reply_and_its_time_is_kept(script: Script) -> None:
    limits = {"first_delta_timeout_s": 0.1, "idle_timeout_s": 0.1, "retry_attempts": 2, "circuit_failures": 1000}
    async with FakeOpenAI([script]) as fake, serving(openai_settings(fake.url, **limits)) as stub:

        async def settled() -> tuple[int, int]:
            await hear(stub, request(), timeout_s=0.5)
            await fake.left(idle=1)
            return held()

        # Of two tries, each within its limits, on a machine that does other things as well.
        async with asyncio.timeout(60.0):
            first = await settled()
            for _ in range(REPLIES):
                last = await settled()

    # Connections and calls come and go by one or two; what is left of each reply adds up.
    assert max(after - before for before, after in zip(first, last, strict=True)) < REPLIES


@pytest.mark.parametrize("speaks_first", [True, False])
async def test_when_the_client_goes_away_the_connection_to_the_upstream_is_closed(speaks_first: bool) -> None:
    asked, closed = asyncio.Event(), asyncio.Event()

    async def script(exchange: Exchange) -> None:
        if speaks_first:
            await exchange.head()
            await exchange.words("Once")
        asked.set()
        await exchange.gone()
        closed.set()

    async with FakeOpenAI([script]) as fake, serving(openai_settings(fake.url)) as stub:
        call = stub.Generate(request(), timeout=20.0)
        await asyncio.wait_for(asked.wait(), 5.0)
        if speaks_first:
            await call.read()
            await call.read()
        call.cancel()
        await asyncio.wait_for(closed.wait(), 5.0)

    assert call.cancelled()


async def test_a_client_that_stops_reading_and_goes_away_closes_the_upstream_too() -> None:
    flowing, closed = asyncio.Event(), asyncio.Event()

    async def script(exchange: Exchange) -> None:
        await exchange.head()
        # More than gRPC takes from a handler whose client does not read.
        for _ in range(100):
            await exchange.words("x" * 10_000)
        flowing.set()
        await exchange.gone()
        closed.set()

    async with FakeOpenAI([script]) as fake, serving(openai_settings(fake.url)) as stub:
        call = stub.Generate(request(), timeout=20.0)
        await call.read()
        await asyncio.wait_for(flowing.wait(), 5.0)
        call.cancel()
        await asyncio.wait_for(closed.wait(), 5.0)

    assert call.cancelled()
