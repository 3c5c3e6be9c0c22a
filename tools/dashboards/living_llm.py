"""*Living LLM*: how soon the model speaks, how fast, and what its servers failed."""

from __future__ import annotations

from tools.dashboards.panels import RED, YELLOW, Board, Bound, Query, lines, quantiles, rate, spread
from tools.objectives import Objectives

FIRST_DELTA = "limbic_llm_time_to_first_delta_seconds"


def living_llm(objectives: Objectives) -> Board:
    """Return the dashboard."""
    board = Board(
        "limbic-living-llm", "Limbic / Living LLM", "The model's first words, its speed, its queue and its failures."
    )
    within_s = objectives["first_delta"].within_s
    board.row(
        "Words",
        spread(
            "Time to the first words",
            "From the request to the first delta, retries and the wait in the queue included.",
            FIRST_DELTA,
        ),
        lines(
            "Time to the first words, quantiles",
            "The line is the objective for the whole turn, of which this is the largest part.",
            "s",
            *quantiles(FIRST_DELTA, 0.5, 0.95, 0.99),
            bounds=[Bound(within_s, RED)] if within_s is not None else [],
        ),
        lines(
            "Tokens in a second",
            "cached: a part of the prompts that had been computed before. Servers that do not tell their usage count as 0.",
            "short",
            Query(rate("limbic_llm_tokens_total", "type"), "{{type}}"),
        ),
        lines(
            "Prompt that need not be computed again",
            "Of all tokens of prompts. It falls when conversations push each other out of the model, or when a prompt's beginning changes.",
            "percentunit",
            Query(
                'sum(rate(limbic_llm_tokens_total{type="cached"}[$__rate_interval])) '
                '/ sum(rate(limbic_llm_tokens_total{type="prompt"}[$__rate_interval]))',
                "reused",
            ),
            most=1,
        ),
    )
    board.row(
        "Upstreams",
        lines(
            "Tries by outcome",
            "ok, cancelled by the caller, or the class of the failure.",
            "reqps",
            Query(rate("limbic_llm_attempts_total", "upstream, outcome"), "{{upstream}} {{outcome}}"),
            stacked=True,
        ),
        lines(
            "Second tries, by what the one before failed of",
            "Only before the first words, and within a budget.",
            "reqps",
            Query(rate("limbic_llm_retries_total", "reason"), "{{reason}}"),
            stacked=True,
        ),
        lines(
            "Fallbacks",
            "Replies that another upstream than the first began, by who spoke and why. Nothing is drawn before the first one.",
            "reqps",
            Query(rate("limbic_llm_fallbacks_total", "upstream, reason"), "{{upstream}} for {{reason}}"),
            stacked=True,
        ),
        lines(
            "Circuits",
            "1: the upstream is left alone and only probed.",
            "short",
            Query("max by (upstream) (limbic_llm_circuit_open)", "{{upstream}}"),
            bounds=[Bound(1, RED)],
            most=1,
        ),
    )
    board.row(
        "The embedded model",
        lines(
            "Waiting to speak",
            "At `llm.queue` replies are refused.",
            "short",
            Query("sum by (instance) (limbic_llm_queue_depth)", "{{instance}}"),
        ),
        lines(
            "Conversations that take turns",
            "restored: what had been computed of it was kept. not_restored: its prompt is computed again.",
            "ops",
            Query(rate("limbic_llm_session_switches_total", "outcome"), "{{outcome}}"),
            Query(rate("limbic_llm_session_states_evicted_total"), "pushed out"),
        ),
        lines(
            "What is kept of conversations that do not speak",
            "Up to `llm.session_state_bytes`.",
            "bytes",
            Query("sum by (instance) (limbic_llm_session_state_bytes)", "{{instance}}"),
        ),
        lines(
            "Given up",
            "The caller went away, before the first words or after.",
            "ops",
            Query(rate("limbic_llm_generation_cancelled_total", "stage"), "{{stage}}"),
            stacked=True,
            bounds=[Bound(1, YELLOW)],
        ),
    )
    return board
