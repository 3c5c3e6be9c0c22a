"""From plain values to the wire."""

from __future__ import annotations

from collections.abc import Sequence

from google.protobuf.duration_pb2 import Duration

from limbic.llm.v1 import llm_pb2
from services.living_llm.speech import Delta, FinishReason, Sampling
from services.living_llm.voice import Attempt
from services.living_llm.voices import Begun, Done, VoiceEvent

_FINISH_REASONS = {
    FinishReason.STOP: llm_pb2.FINISH_REASON_STOP,
    FinishReason.LENGTH: llm_pb2.FINISH_REASON_LENGTH,
    FinishReason.FILTER: llm_pb2.FINISH_REASON_FILTER,
}


def joined(batch: Sequence[VoiceEvent]) -> list[VoiceEvent]:
    """Make one delta of neighbouring ones."""
    joined: list[VoiceEvent] = []
    for event in batch:
        if isinstance(event, Delta) and joined and isinstance(last := joined[-1], Delta):
            joined[-1] = Delta(last.text + event.text)
        else:
            joined.append(event)
    return joined


def response(event: VoiceEvent, sampling: Sampling) -> llm_pb2.GenerateResponse:
    """Return an event as the wire has it. `sampling` is what is in force."""
    if isinstance(event, Begun):
        return llm_pb2.GenerateResponse(started=_started(event, sampling))
    if isinstance(event, Delta):
        return llm_pb2.GenerateResponse(delta=llm_pb2.Delta(text=event.text))
    return llm_pb2.GenerateResponse(done=_done(event))


def _started(begun: Begun, sampling: Sampling) -> llm_pb2.Started:
    started = llm_pb2.Started(
        upstream=begun.started.upstream,
        model=begun.started.model,
        sampling=_sampling(sampling),
        omitted_messages=begun.started.omitted_messages,
    )
    if (failure := begun.instead_of) is not None:
        started.fallback.instead_of = failure.upstream
        started.fallback.failure_class = failure.failure_class
        started.fallback.detail = failure.detail
    return started


def _sampling(sampling: Sampling) -> llm_pb2.Sampling:
    return llm_pb2.Sampling(
        temperature=sampling.temperature,
        top_p=sampling.top_p,
        frequency_penalty=sampling.frequency_penalty,
        presence_penalty=sampling.presence_penalty,
        max_tokens=sampling.max_tokens,
        stop=sampling.stop,
        seed=sampling.seed,
    )


def _done(done: Done) -> llm_pb2.Done:
    usage = done.finished.usage
    return llm_pb2.Done(
        finish_reason=_FINISH_REASONS[done.finished.reason],
        usage=llm_pb2.Usage(
            prompt_tokens=usage.prompt_tokens,
            cached_tokens=usage.cached_tokens,
            completion_tokens=usage.completion_tokens,
        ),
        attempts=[_attempt(attempt) for attempt in done.attempts],
    )


def _attempt(attempt: Attempt) -> llm_pb2.Attempt:
    return llm_pb2.Attempt(
        upstream=attempt.upstream,
        duration=_duration(attempt.duration_s),
        failure_class=attempt.failure_class,
        detail=attempt.detail,
        backoff=_duration(attempt.backoff_s),
    )


def _duration(seconds: float) -> Duration:
    duration = Duration()
    duration.FromNanoseconds(round(seconds * 1e9))
    return duration
