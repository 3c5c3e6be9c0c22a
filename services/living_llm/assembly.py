"""Puts the parts together as the settings say."""

from __future__ import annotations

from collections.abc import Sequence

from limbic.runtime.clock import Clock
from limbic.runtime.models import ModelFile, find_model
from limbic.runtime.settings import EMBEDDED, LlmSettings, UpstreamSettings
from services.living_llm.adapters import Adapter
from services.living_llm.breaker import CircuitBreaker
from services.living_llm.budget import RetryBudget
from services.living_llm.embedded import EmbeddedUpstream
from services.living_llm.openai import OpenAIUpstream, UpstreamSettingsError, read_api_key
from services.living_llm.retry import Retries, RetryPolicy
from services.living_llm.upstream import Upstream
from services.living_llm.voice import Voice
from services.living_llm.voices import Voices


def make_upstreams(settings: LlmSettings, persona: str = "") -> list[Upstream]:
    """Return the upstreams that the settings ask for, in the order in which they are to be asked.

    Args:
        settings: the section `llm`.
        persona: who speaks in most conversations, for an upstream that can prepare for it.

    Raises:
        UpstreamSettingsError: a URL or a key cannot be used, two upstreams are called alike, or the embedded model stands there twice.
        ModelFileError: no such model.
    """
    names = upstream_names(settings.upstreams)
    return [
        _embedded(settings, name, persona) if wanted.is_embedded else _server(settings, name, wanted)
        for name, wanted in zip(names, settings.upstreams, strict=True)
    ]


def upstream_names(upstreams: Sequence[UpstreamSettings]) -> list[str]:
    """Return what each upstream is called: as it says, else by its kind, with its place behind it where another is called so.

    Raises:
        UpstreamSettingsError: two are called alike, or the embedded model stands there twice.
    """
    if sum(upstream.is_embedded for upstream in upstreams) > 1:
        raise UpstreamSettingsError("llm.fallbacks: the embedded model can stand among the upstreams only once")
    names: list[str] = []
    for place, upstream in enumerate(upstreams, 1):
        kind = EMBEDDED if upstream.is_embedded else "openai"
        name = upstream.name or (kind if kind not in names else f"{kind}-{place}")
        if name in names:
            raise UpstreamSettingsError(
                f"llm.fallbacks: two upstreams are called {name!r}; give each a name of its own"
            )
        names.append(name)
    return names


def _server(settings: LlmSettings, name: str, wanted: UpstreamSettings) -> OpenAIUpstream:
    return OpenAIUpstream(
        wanted.url,
        name=name,
        model=wanted.model,
        api_key=read_api_key(name, wanted.api_key_file, wanted.api_key),
        context_tokens=wanted.context_tokens,
        connect_timeout_s=settings.connect_timeout_s,
    )


def _embedded(settings: LlmSettings, name: str, persona: str) -> EmbeddedUpstream:
    return EmbeddedUpstream(
        find_model(settings.model, settings.model_sha256),
        name=name,
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


def make_voices(upstreams: Sequence[Upstream], settings: LlmSettings, clock: Clock) -> Voices:
    """Put retries, circuit and time limits around each upstream, and their order around all of them."""
    return Voices(
        [
            _voice(upstream, wanted, settings, clock)
            for upstream, wanted in zip(upstreams, settings.upstreams, strict=True)
        ]
    )


def _voice(upstream: Upstream, wanted: UpstreamSettings, settings: LlmSettings, clock: Clock) -> Voice:
    policy = RetryPolicy(settings.retry_attempts, settings.retry_initial_s, settings.retry_max_s)
    budget = RetryBudget(ratio=settings.retry_budget_ratio, floor=settings.retry_budget_min, clock=clock)
    breaker = CircuitBreaker(
        upstream.name, failures=settings.circuit_failures, open_s=settings.circuit_open_s, clock=clock
    )
    return Voice(
        upstream,
        Retries(policy, budget),
        breaker,
        first_delta_timeout_s=wanted.first_delta_timeout_s or settings.first_delta_timeout_s,
        idle_timeout_s=settings.idle_timeout_s,
        clock=clock,
    )
