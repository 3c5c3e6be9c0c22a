"""OpenTelemetry traces of a turn, through HTTP and gRPC to the model. Off unless an endpoint is set.

Our own few spans and not the instrumentation packages': those write an exception's text into the span, and a text may quote what
people said. Spans here hold names, codes, ids and durations, and nothing that anybody wrote.

Without an endpoint nothing is set up, and each function here costs one comparison.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import grpc
from opentelemetry import context, trace
from opentelemetry.trace import Span, SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

import limbic

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

_PROPAGATOR = TraceContextTextMapPropagator()

Attributes = Mapping[str, str | int | float | bool]


@dataclass(frozen=True, slots=True)
class TimedSpan:
    """A part of a span that was timed already.

    Attributes:
        name: what was done.
        start_ns: when it began, since the epoch.
        end_ns: when it ended, since the epoch.
        failed: whether it did not end as it should.
        attributes: more about it; never words that people said.
    """

    name: str
    start_ns: int
    end_ns: int
    failed: bool
    attributes: Attributes


class _Tracing:
    """The process's one provider, once it is set up."""

    provider: TracerProvider | None = None
    tracer: trace.Tracer = trace.NoOpTracer()


def configure_tracing(service: str, endpoint: str, sample_ratio: float) -> None:
    """Trace from now on.

    Args:
        service: the process's name.
        endpoint: URL of a collector that takes OTLP over gRPC; with https:// over TLS.
        sample_ratio: the share of turns that begin a trace of their own, 0…1; a caller that brings one decides for itself.
    """
    # Only where it is wanted: these imports take half a second.
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor
    from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased

    resource = Resource.create({SERVICE_NAME: service, SERVICE_VERSION: limbic.__version__})
    provider = TracerProvider(resource=resource, sampler=ParentBased(TraceIdRatioBased(sample_ratio)))
    # In a thread of its own with a bounded queue: a collector that is away costs spans and no time.
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=endpoint)))
    _Tracing.provider = provider
    _Tracing.tracer = provider.get_tracer("limbic", limbic.__version__)


def shut_down() -> None:
    """Send what is waiting and stop tracing. Blocks for as long as the collector takes, at most some seconds."""
    if _Tracing.provider is not None:
        _Tracing.provider.shutdown()
    _Tracing.provider, _Tracing.tracer = None, trace.NoOpTracer()


def is_on() -> bool:
    """Whether an endpoint is set."""
    return _Tracing.provider is not None


@contextmanager
def server_span(
    name: str, headers: Callable[[], Iterable[tuple[str, str | bytes]]], attributes: Attributes
) -> Iterator[Span]:
    """Trace the handling of a request, as a child of what its W3C `traceparent` header names.

    Args:
        name: the method.
        headers: reads the request's headers or metadata; called only if traces are made.
        attributes: what is known of it beforehand.
    """
    if not is_on():
        yield trace.INVALID_SPAN
        return
    carrier = {key: value for key, value in headers() if isinstance(value, str)}
    with _entered(name, SpanKind.SERVER, attributes, _PROPAGATOR.extract(carrier)) as span:
        yield span


@contextmanager
def client_span(name: str, attributes: Attributes) -> Iterator[Span]:
    """Trace a request to somebody else, or a computation, as a child of what is being traced now."""
    if not is_on():
        yield trace.INVALID_SPAN
        return
    with _entered(name, SpanKind.CLIENT, attributes, None) as span:
        yield span


def failed(span: Span, code: str) -> None:
    """Say of a span that it failed, by a code."""
    span.set_status(Status(StatusCode.ERROR, code))


def end_call(span: Span, code: grpc.StatusCode) -> None:
    """Say of a call's span how the call ended."""
    if span.is_recording():
        span.set_attribute("rpc.grpc.status_code", code.value[0])
        if code is not grpc.StatusCode.OK:
            failed(span, code.name)


def add_children(children: Iterable[TimedSpan]) -> None:
    """Add parts that were timed already to what is being traced now."""
    if not is_on():
        return
    for child in children:
        span = _Tracing.tracer.start_span(child.name, start_time=child.start_ns, attributes=dict(child.attributes))
        if child.failed:
            span.set_status(Status(StatusCode.ERROR))
        span.end(child.end_ns)


def current_trace_id() -> str | None:
    """Return the id of the trace being made, 32 hexadecimal digits, or None."""
    found = trace.get_current_span().get_span_context()
    return trace.format_trace_id(found.trace_id) if found.is_valid else None


def outgoing_headers() -> dict[str, str]:
    """Return what a request to somebody else must carry so that its handling belongs to this trace."""
    carrier: dict[str, str] = {}
    if is_on():
        _PROPAGATOR.inject(carrier)
    return carrier


def client_interceptors() -> list[Any]:
    """Return what puts the trace into every call of a channel; nothing while traces are not made."""
    return [_UnaryUnary(), _UnaryStream(), _StreamUnary(), _StreamStream()] if is_on() else []


@contextmanager
def _entered(name: str, kind: SpanKind, attributes: Attributes, parent: context.Context | None) -> Iterator[Span]:
    span = _Tracing.tracer.start_span(name, context=parent, kind=kind, attributes=dict(attributes))
    token = context.attach(trace.set_span_in_context(span))
    try:
        yield span
    finally:
        # A generator that is closed by another task is not in the context that it changed; that one ends with its own task.
        if trace.get_current_span() is span:
            context.detach(token)
        span.end()


def _with_trace(details: grpc.aio.ClientCallDetails) -> grpc.aio.ClientCallDetails:
    metadata = grpc.aio.Metadata(*(details.metadata or ()))
    for key, value in outgoing_headers().items():
        metadata.add(key, value)
    return details._replace(metadata=metadata)  # type: ignore[attr-defined,no-any-return]  # a named tuple behind the stubs' class


class _UnaryUnary(grpc.aio.UnaryUnaryClientInterceptor):  # type: ignore[type-arg]  # generic in the stubs only
    async def intercept_unary_unary(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        return await continuation(_with_trace(client_call_details), request)


class _UnaryStream(grpc.aio.UnaryStreamClientInterceptor):  # type: ignore[type-arg]
    async def intercept_unary_stream(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        return await continuation(_with_trace(client_call_details), request)


class _StreamUnary(grpc.aio.StreamUnaryClientInterceptor):  # type: ignore[type-arg]
    async def intercept_stream_unary(self, continuation: Any, client_call_details: Any, request_iterator: Any) -> Any:
        return await continuation(_with_trace(client_call_details), request_iterator)


class _StreamStream(grpc.aio.StreamStreamClientInterceptor):  # type: ignore[type-arg]
    async def intercept_stream_stream(self, continuation: Any, client_call_details: Any, request_iterator: Any) -> Any:
        return await continuation(_with_trace(client_call_details), request_iterator)
