"""*Turns*: what users get, held against the objectives."""

from __future__ import annotations

from tools.dashboards.panels import (
    GREEN,
    ORANGE,
    RED,
    YELLOW,
    Board,
    Bound,
    Panel,
    Query,
    lines,
    number,
    quantile,
    quantiles,
    rate,
    spread,
)
from tools.objectives import Objective, Objectives

FIRST_DELTA = "limbic_turn_first_delta_seconds"
OVERHEAD = "limbic_gateway_overhead_seconds"
STAGES = "limbic_turn_stage_seconds"

OVERHEAD_P50_S = 0.015
"""The design's number for the median of what the gateway adds; the one for its p99 is an objective."""


def turns(objectives: Objectives) -> Board:
    """Return the dashboard."""
    board = Board("limbic-turns", "Limbic / Turns", "What users get: answers, how soon, and with what missing.")
    board.row("Objectives, over the time shown", *(_kept(one) for one in objectives.all), height=5)
    board.row("How fast the budgets burn", _burning(objectives), height=7)
    board.row(
        "Turns",
        lines(
            "Turns by outcome",
            "degraded: answered without a part. cut: broke off after its first words. refused: the request's own fault, or no time. "
            "cancelled: the client went away.",
            "reqps",
            Query(rate("limbic_turns_total", "outcome"), "{{outcome}}"),
            stacked=True,
        ),
        lines(
            "Running, and not let in",
            "Turns that run now, beside those refused in a second because too many ran or their session was busy.",
            "short",
            Query("sum(limbic_turns_in_flight)", "running"),
            Query(rate("limbic_shed_total"), "not let in, per second"),
        ),
        lines(
            "Refused at the door",
            "Requests and calls without a good key, or with one that was used too often. The words are those of docs/errors.md.",
            "reqps",
            Query(rate("limbic_gateway_refused_total", "reason"), "{{reason}}"),
            stacked=True,
        ),
        lines(
            "Streams without an end",
            "Watchers of telemetry and of states over HTTP.",
            "short",
            Query("sum(limbic_http_streams_open)", "open"),
        ),
    )
    first, overhead = objectives["first_delta"], objectives["overhead"]
    board.row(
        "How soon",
        spread(
            "Time to the first words",
            "From a turn's arrival to its first delta. A dot is a turn; it leads to its trace.",
            FIRST_DELTA,
        ),
        lines(
            "Time to the first words, quantiles",
            f"{first.goal:%} of the turns are to stay below the line.",
            "s",
            *quantiles(FIRST_DELTA, 0.5, 0.95, 0.99, exemplars=True),
            bounds=[Bound(_seconds(first), RED)],
        ),
        lines(
            "What the gateway adds",
            "The time before the first words, less the wait for the reading and the model's own. Yellow: where p50 is to stay; red: p99.",
            "s",
            *quantiles(OVERHEAD, 0.5, 0.99, exemplars=True),
            bounds=[Bound(OVERHEAD_P50_S, YELLOW), Bound(_seconds(overhead), RED)],
        ),
    )
    board.row(
        "Stages",
        lines(
            "Stages, p99",
            "Each stage of a turn. Those that run beside each other overlap, so the sum is no one's time.",
            "s",
            Query(quantile(0.99, STAGES, "stage"), "{{stage}}", exemplars=True),
        ),
        lines(
            "Stages against their budgets, p99",
            "1 is all that the settings give the stage: the affect window, or the deadline of a call to the state engine.",
            "percentunit",
            Query(
                f"{quantile(0.99, STAGES, 'stage')} / on (stage) max by (stage) (limbic_turn_stage_budget_seconds)",
                "{{stage}}",
            ),
            bounds=[Bound(1, RED)],
        ),
        lines(
            "Stages that did not end well",
            "Timeouts, errors, what was skipped and what the client's going away cancelled.",
            "reqps",
            Query(
                f'sum by (stage, outcome) (rate({STAGES}_count{{outcome!="ok"}}[$__rate_interval]))',
                "{{stage}} {{outcome}}",
            ),
            stacked=True,
        ),
    )
    window = objectives["window"]
    board.row(
        "The affect window",
        lines(
            "Readings in the window",
            "The share of turns that felt their own words. The line is the objective.",
            "percentunit",
            Query(window.good_share("$__rate_interval"), "in the window"),
            bounds=[Bound(float(window.goal), GREEN)],
            base=RED,
            most=1,
        ),
        lines(
            "What became of readings",
            "late: recorded at the moment of the words, after the turn had gone on. already_felt: the same words sent again.",
            "reqps",
            Query(rate("limbic_affect_window_total", "result"), "{{result}}"),
            stacked=True,
        ),
        lines(
            "By how much late readings missed it",
            "Nothing is drawn while none is late.",
            "s",
            *quantiles("limbic_affect_lateness_seconds", 0.5, 0.95),
        ),
    )
    board.row(
        "What was missing",
        lines(
            "Degraded turns by part",
            "journal: something could not be kept anywhere. history: the model was not told what was said before.",
            "reqps",
            Query(rate("limbic_turns_degraded_total", "part"), "{{part}}"),
            stacked=True,
        ),
        lines(
            "Facts that wait for the state engine",
            "They lie in the gateway's spool and are recorded when the engine is back.",
            "short",
            Query("sum(limbic_spool_facts)", "waiting"),
            Query(rate("limbic_spool_replayed_total"), "taken by the engine, per second"),
            Query(rate("limbic_spool_rejected_total"), "refused for good, per second"),
            Query(rate("limbic_spool_refused_total"), "lost, per second"),
        ),
        lines(
            "Room in the spool",
            "Beyond it facts are lost.",
            "percentunit",
            Query("max(limbic_spool_bytes / limbic_spool_max_bytes)", "used"),
            bounds=[Bound(0.8, RED)],
            most=1,
        ),
        lines(
            "The model: tries and fallbacks",
            "Second tries, turns that a fallback answered, and upstreams that are left alone.",
            "short",
            Query(rate("limbic_llm_retries_total"), "retries, per second"),
            Query('sum(rate(limbic_turns_degraded_total{part="model"}[$__rate_interval]))', "fallbacks, per second"),
            Query("sum(limbic_llm_circuit_open)", "open circuits"),
        ),
    )
    return board


def _kept(objective: Objective) -> Panel:
    return number(
        objective.title,
        f"{objective.says} The objective is {objective.goal:%}.",
        "percentunit",
        Query(objective.good_share("$__range"), objective.title),
        [Bound(float(objective.goal), GREEN)],
        base=RED,
    )


def _burning(objectives: Objectives) -> Panel:
    factors = sorted({burn.factor for burn in objectives.burns})
    colours = (YELLOW, ORANGE, RED)
    return lines(
        "Burn rate of the last hour",
        f"1 uses a budget up in exactly {objectives.period_days} days. The lines are where alerts look closer.",
        "short",
        *(
            Query(f'limbic:error_ratio:rate1h{{objective="{one.name}"}} / {one.budget}', one.title)
            for one in objectives.all
        ),
        bounds=[Bound(factor, colour) for factor, colour in zip(factors, colours, strict=True)],
    )


def _seconds(objective: Objective) -> float:
    if objective.within_s is None:
        raise ValueError(f"{objective.name} is no objective of time")
    return objective.within_s
