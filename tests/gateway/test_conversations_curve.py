"""At which moments a curve is drawn, and how a stream of events is kept alive."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from gateway.http.conversations_curve import BUDGET, MOST_BETWEEN, moments_of
from gateway.http.stream import event_text, kept_alive
from limbic.runtime.clock import NS_PER_S

moments = st.integers(0, 400 * 86_400 * NS_PER_S)


@given(said=st.lists(moments, max_size=60), now=moments)
def test_a_curve_has_each_utterance_the_moment_before_the_next_and_the_end(said: list[int], now: int) -> None:
    found = moments_of(said, now)
    stops = sorted({moment for moment in said if moment < now})

    assert found == sorted(set(found))
    if not stops:
        assert found == []
        return
    assert (found[0], found[-1]) == (stops[0], now)
    assert set(stops) <= set(found)
    assert len(found) <= len(stops) * (2 + min(MOST_BETWEEN, max(1, BUDGET // len(stops)))) + 1
    for earlier, later in pairwise(stops):
        inside = [moment for moment in found if earlier <= moment < later]
        assert later - inside[-1] <= max(1_000_000, (later - earlier) // 2 + 1) or later - earlier <= 2_000_000


def test_points_are_closest_together_right_after_something_was_said() -> None:
    found = moments_of([0], 3_600 * NS_PER_S)
    steps = [later - earlier for earlier, later in pairwise(found)]

    assert len(found) == MOST_BETWEEN + 2
    assert steps[0] == NS_PER_S
    assert steps[1:-1] == sorted(steps[1:-1])


async def test_silence_is_filled_with_comments_and_the_event_is_not_lost() -> None:
    ready = asyncio.Event()

    async def late() -> AsyncGenerator[str, None]:
        await ready.wait()
        yield event_text("state", {"said": "two\nlines"})

    events = kept_alive(late(), silence_s=0.0)
    first = await anext(events)
    ready.set()
    rest = [event async for event in events]

    assert first == ": keep-alive\n\n"
    assert rest[-1] == 'event: state\ndata: {"said":"two\\nlines"}\n\n'
    assert set(rest[:-1]) <= {first}
