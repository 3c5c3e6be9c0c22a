"""Runs `affect-validation` against a system."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import Any

from limbic.probes.conversation import read_of, run_script
from limbic.probes.gates import Gates
from limbic.probes.levels import Reading
from limbic.probes.result import Miss
from limbic.probes.run import Found, Progress, Scope
from limbic.probes.script import Conversation, Reader, Triad, load_conversations, load_triads
from limbic.probes.system import System
from limbic.probes.validation import Check, Seen, by_topic, check_conversation, check_triad, measures

AT_ONCE = 4
"""Conversations that run beside each other: each waits most of the time."""

FILES = ("affect-validation.toml", "triads.toml")


async def run_validation(system: System, scope: Scope, gates: Gates, progress: Progress) -> Found:
    """Run every conversation and every triad, and judge them.

    Raises:
        CallError: a call failed.
    """
    conversations, triads = load_conversations(), load_triads()
    scripts = [*conversations, *(variant for triad in triads for variant in triad.variants.values())]
    done = progress("affect-validation", len(scripts))
    free = asyncio.Semaphore(AT_ONCE)

    async def run(script: Conversation) -> Seen:
        async with free, scope.session(script.name) as session_id:
            seen = await run_script(system, session_id, script, time.time_ns())
        done()
        return seen

    async with asyncio.TaskGroup() as group:
        tasks = {script.name: group.create_task(run(script)) for script in scripts}
    seen = {name: task.result() for name, task in tasks.items()}
    return judged(conversations, triads, seen, gates)


def judged(
    conversations: Sequence[Conversation], triads: Sequence[Triad], seen: Mapping[str, Seen], gates: Gates
) -> Found:
    """Judge what was seen, by conversation and variant. Pure."""
    checks: list[Check] = []
    for script in conversations:
        checks += check_conversation(script, seen[script.name], gates.margins, gates.head)
    for triad in triads:
        variants = {name: seen[script.name] for name, script in triad.variants.items()}
        checks += check_triad(triad, variants, gates.margins, gates.head)
    pairs: list[tuple[Reader, Reading | None]] = []
    for script in (*conversations, *(variant for triad in triads for variant in triad.variants.values())):
        pairs += zip((turn.reader for turn in script.turns), seen[script.name].readings, strict=True)
    topics = {one.name: one.topic for one in conversations} | {one.name: one.topic for one in triads}
    return Found(
        figures=measures(checks, pairs),
        misses=[
            Miss(one.where, one.turn, one.what, one.address or one.part)
            for one in checks
            if not one.held and one.part in ("whole", "engine")
            if one.part == "whole" or one.address == "engine"
        ],
        detail=_detail(conversations, triads, seen, checks, topics),
    )


def _detail(
    conversations: Sequence[Conversation],
    triads: Sequence[Triad],
    seen: Mapping[str, Seen],
    checks: Sequence[Check],
    topics: Mapping[str, str],
) -> dict[str, Any]:
    def told(script: Conversation) -> dict[str, Any]:
        found = seen[script.name]
        return {
            "says": [turn.says for turn in script.turns],
            "reader": [dict(turn.reader.axes) for turn in script.turns],
            "head": read_of(found.readings),
            "before": [dict(one) for one in found.course.before],
            "after": [dict(one) for one in found.course.after],
            "after_by_a_person": [dict(one) for one in found.read_by_a_person.after],
        }

    return {
        "topics": by_topic(checks, topics),
        "conversations": {script.name: told(script) for script in conversations},
        "triads": {triad.name: {name: told(script) for name, script in triad.variants.items()} for triad in triads},
        "head_misses": [
            {"where": one.where, "turn": one.turn, "what": one.what}
            for one in checks
            if one.part == "head" and not one.held
        ],
    }
