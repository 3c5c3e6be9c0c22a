"""Runs `mid-span` against a system: several rounds in a row, each drawn by a seed of its own."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import Any

from limbic.probes.conversation import read_of, run_span
from limbic.probes.gates import Gate, Gates, verdicts
from limbic.probes.levels import HORMONES
from limbic.probes.midspan import SpanSeen, round_figures, worst
from limbic.probes.result import Miss
from limbic.probes.run import Found, Progress, Scope
from limbic.probes.script import suite_text
from limbic.probes.spans import LONG_TURNS, Span, parse_pools, spans
from limbic.probes.system import System

FILES = ("mid-span.toml",)

PLOTTED = 120
"""Points of a curve that a report keeps."""


async def run_midspan(system: System, scope: Scope, gates: Gates, progress: Progress, turns: int = LONG_TURNS) -> Found:
    """Run the rounds one after the other, and end with the first that does not pass: a row is broken then.

    Args:
        system: the system.
        scope: its sessions; round n draws by the scope's seed plus n.
        gates: what each round must reach, and how many there are.
        progress: told of each turn.
        turns: of the long conversations.

    Raises:
        CallError: a call failed.
    """
    pools = parse_pools(suite_text(FILES[0]))
    rounds: list[tuple[dict[str, float], dict[str, float]]] = []
    detail: dict[str, Any] = {}
    for number in range(gates.rounds):
        plans = spans(pools, scope.seed + number, turns)
        seen = await _round(system, scope, plans, progress, number)
        figures, by_a_person = round_figures(plans, seen)
        rounds.append((figures, by_a_person))
        # The last one is what is drawn: the one that failed, if one did.
        detail = {"curves": {span.name: _curve(span, seen[span.name]) for span in plans}}
        if not all(verdict.passed for verdict in verdicts(gates.by_suite["mid-span"], _in_a_row(figures, gates))):
            break
    return concluded_rounds(rounds, gates, detail)


def concluded_rounds(
    rounds: Sequence[tuple[Mapping[str, float], Mapping[str, float]]], gates: Gates, detail: Mapping[str, Any]
) -> Found:
    """Return what the rounds come to: the worst of each figure, and what each round missed. Pure.

    Args:
        rounds: each round's figures, and those of the same round had the head read as a person does.
        gates: what each round must reach.
        detail: what the report is made from.
    """
    of_suite = gates.by_suite["mid-span"]
    figures = worst([felt for felt, _ in rounds], {gate.measure: gate.least is not None for gate in of_suite})
    misses = []
    passed = 0
    for number, (felt, by_a_person) in enumerate(rounds, 1):
        missed = [v for v in verdicts(of_suite, _in_a_row(felt, gates)) if not v.passed]
        misses += [Miss(f"round {number}", 0, _limit(v.gate, v.value), _address(v.gate, by_a_person)) for v in missed]
        passed = passed + 1 if not missed else 0
    told = {"rounds": [dict(felt) for felt, _ in rounds], "by_a_person": [dict(other) for _, other in rounds]}
    return Found({**figures, "rounds_in_a_row": float(passed)}, misses, {**detail, **told})


def _in_a_row(figures: Mapping[str, float], gates: Gates) -> dict[str, float]:
    # Within a round the row itself is not judged.
    return {**figures, "rounds_in_a_row": float(gates.rounds)}


def _limit(gate: Gate, value: float) -> str:
    low = "" if gate.least is None else f", at least {gate.least:g}"
    high = "" if gate.most is None else f", at most {gate.most:g}"
    return f"{gate.measure} {value:.3g}{low}{high}"


def _address(gate: Gate, by_a_person: Mapping[str, float]) -> str:
    """Return whose a miss is: the head's where the same limit would hold under a person's readings, else the engine's."""
    if gate.measure == "unread":
        return "unread"
    return "head" if gate.passes(by_a_person[gate.measure]) else "engine"


async def _round(
    system: System, scope: Scope, plans: Sequence[Span], progress: Progress, number: int
) -> dict[str, SpanSeen]:
    done = progress(f"mid-span, round {number + 1}", sum(len(span.says) for span in plans))

    async def run(span: Span) -> SpanSeen:
        async with scope.session(f"r{number + 1}-{span.name}") as session_id:
            return await run_span(system, session_id, span, time.time_ns(), done)

    async with asyncio.TaskGroup() as group:
        tasks = {span.name: group.create_task(run(span)) for span in plans}
    return {name: task.result() for name, task in tasks.items()}


def _curve(span: Span, seen: SpanSeen) -> dict[str, Any]:
    times = [*span.at_s, *(span.at_s[-1] + tail_s for tail_s in span.tail_s)]
    points = [*seen.course.after, *seen.course.tail]
    step = max(1, -(-len(points) // PLOTTED))
    chosen = sorted({*range(0, len(points), step), len(points) - 1})
    return {
        "hours": [times[index] / 3600.0 for index in chosen],
        "levels": {name: [points[index][name] for index in chosen] for name in HORMONES},
        "read": read_of(seen.readings[:3]),
    }
