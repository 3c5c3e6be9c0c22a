"""Runs `latency` against a system, through a gateway of its own whose head it makes fast, slow and dead."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, replace
from typing import Any

from limbic.gateway.v1 import gateway_pb2
from limbic.llm.v1 import llm_pb2
from limbic.probes.forwarder import Forwarder
from limbic.probes.hearing import Heard
from limbic.probes.latency import HEADS, Timed, latency_figures, parse_turns, timed
from limbic.probes.own_gateway import own_gateway
from limbic.probes.run import Found, Progress, Scope
from limbic.probes.script import suite_text
from limbic.probes.system import System, Targets

FILES = ("latency.toml",)
MAX_TOKENS = 12
"""The time to the first words is what is measured; the rest of a reply only takes time."""
LATE_S = 0.4
"""By how much a slow head misses the window."""
WARM_UP = 2
RECORDED_S = 15.0
POLL_S = 0.1

_IN_WINDOW = gateway_pb2.AFFECT_STATUS_IN_WINDOW


async def run_latency(targets: Targets, scope: Scope, window_s: float, progress: Progress) -> Found:
    """Say the fixed turns to each kind of head.

    Args:
        targets: of the running system, on this host.
        scope: the sessions and the seed.
        window_s: the gateway's affect window.
        progress: told of each turn.

    Raises:
        CallError: a turn was refused or broke off.
        NotProbedError: no gateway could be started.
    """
    texts = parse_turns(suite_text(FILES[0]))
    done = progress("latency", len(HEADS) * len(texts))
    found: dict[str, list[Timed]] = {}
    async with own_gateway(targets) as (gateway, head):
        for state in HEADS:
            # A fresh connection to the gateway too, so that none of the three begins with an advantage.
            async with _head(state, targets, head, window_s), System(replace(targets, gateway=gateway)) as system:
                async with scope.session(f"{state}-warm-up") as session_id:
                    await _say(system, session_id, texts[:WARM_UP], scope.seed, window_s, lambda: None)
                async with scope.session(state) as session_id:
                    heard = await _say(system, session_id, texts, scope.seed, window_s, done)
                    readings = await _recorded(system, session_id, 0 if state == "dead" else len(texts))
                    found[state] = [
                        timed(
                            one.trace,
                            one.first_delta_s,
                            window_s,
                            in_window=one.status == _IN_WINDOW,
                            recorded=readings.get(one.turn_id, 0) == 1,
                        )
                        for one in heard
                    ]
    detail = {"turns": {state: [asdict(turn) for turn in turns] for state, turns in found.items()}}
    return Found(latency_figures(found, window_s), (), {**detail, "window_s": window_s})


@asynccontextmanager
async def _head(state: str, targets: Targets, listen: str, window_s: float) -> AsyncIterator[None]:
    if state == "dead":
        yield
        return
    forwarder = Forwarder(
        targets.affect_head, listen, window_s + LATE_S if state == "slow" else 0.0, targets.credentials
    )
    await forwarder.start()
    try:
        yield
    finally:
        await forwarder.stop()


async def _say(
    system: System, session_id: str, texts: Sequence[str], seed: int, window_s: float, done: Any
) -> list[Heard]:
    heard: list[Heard] = []
    parent = ""
    for index, text in enumerate(texts):
        sampling = llm_pb2.Sampling(max_tokens=MAX_TOKENS, seed=seed)
        one = await system.say(
            session_id,
            f"t{index + 1}",
            text,
            parent_turn_id=parent,
            window_s=window_s,
            waits_for_reply=True,
            sampling=sampling,
        )
        heard.append(one)
        parent = one.reply_turn_id or one.turn_id
        done()
    return heard


async def _recorded(system: System, session_id: str, wanted: int) -> dict[str, int]:
    """Return how many readings each turn has, once all are there or none comes any more."""
    give_up = time.monotonic() + RECORDED_S
    while True:
        found = await system.late_readings(session_id)
        if sum(found.values()) >= wanted or time.monotonic() > give_up:
            return found
        await asyncio.sleep(POLL_S)
