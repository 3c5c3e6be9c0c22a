"""Puts the parts together as the settings say."""

from __future__ import annotations

from limbic.runtime.clock import Clock
from limbic.runtime.models import ModelFile, find_model
from limbic.runtime.settings import LlmSettings
from services.living_llm.adapters import Adapter
from services.living_llm.breaker import CircuitBreaker
from services.living_llm.budget import RetryBudget
from services.living_llm.embedded import EmbeddedUpstream
from services.living_llm.openai import OpenAIUpstream, read_api_key
from services.living_llm.retry import Retries, RetryPolicy
from services.living_llm.upstream import Upstream
from services.living_llm.voice import Voice


def make_upstream(settings: LlmSettings, persona: str = "") -> Upstream:
    """Return the upstream that the settings ask for: a server if there is a URL, else the embedded model.

    Args:
        settings: the section `llm`.
        persona: who speaks in most conversations, for an upstream that can prepare for it.

    Raises:
        UpstreamSettingsError: URL or key cannot be used.
        ModelFileError: no such model.
    """
    wanted = settings.upstream
    if wanted.url:
        return OpenAIUpstream(
            wanted.url,
            model=wanted.model,
            api_key=read_api_key(wanted.api_key_file, wanted.api_key),
            context_tokens=wanted.context_tokens,
            connect_timeout_s=settings.connect_timeout_s,
        )
    return EmbeddedUpstream(
        find_model(settings.model, settings.model_sha256),
        context_tokens=settings.context_tokens,
        threads=settings.threads,
        queue=settings.queue,
        prompt_format=settings.prompt_format,
        persona=persona,
        session_state_bytes=settings.session_state_bytes,
        adapters=[
            Adapter(
                f"{number}: {wanted.file.name}",
                wanted.persona,
                ModelFile(wanted.file.name, wanted.file, wanted.sha256),
                wanted.scale,
            )
            for number, wanted in enumerate(settings.adapters, 1)
        ],
        steering_dir=settings.steering_dir,
    )


def make_voice(upstream: Upstream, settings: LlmSettings, clock: Clock) -> Voice:
    """Put retries, circuit and time limits around an upstream."""
    policy = RetryPolicy(settings.retry_attempts, settings.retry_initial_s, settings.retry_max_s)
    budget = RetryBudget(ratio=settings.retry_budget_ratio, floor=settings.retry_budget_min, clock=clock)
    breaker = CircuitBreaker(
        upstream.name, failures=settings.circuit_failures, open_s=settings.circuit_open_s, clock=clock
    )
    return Voice(
        upstream,
        Retries(policy, budget),
        breaker,
        first_delta_timeout_s=settings.first_delta_timeout_s,
        idle_timeout_s=settings.idle_timeout_s,
        clock=clock,
    )
