"""What happens around every call: readiness, deadline, metrics, and errors turned into statuses. Nothing raw gets out.

One interceptor and not four, because their order matters: the error mapping must be outermost (an exception's text would reach the
client, and a handler that ends in CancelledError while its caller still waits would send no status at all), and the metrics must see
the code that it chose.
"""

from __future__ import annotations

import asyncio
import functools
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc
from google.protobuf import descriptor_pool
from google.protobuf.message import DecodeError, Message
from grpc_status import rpc_status
from opentelemetry.trace import Span

from limbic.runtime.deadline import Deadline, deadline_scope
from limbic.runtime.errors import (
    InternalError,
    InvalidArgumentError,
    LimbicError,
    NotSupportedError,
    ServerDrainingError,
    ServerStartingError,
    UnavailableError,
    to_status,
)
from limbic.runtime.logs import get_logger
from limbic.runtime.metrics import INTERNAL_ERRORS, RPC_SERVER_IN_FLIGHT, RPC_SERVER_SECONDS, at_zero
from limbic.runtime.tracing import end_call, server_span
from limbic.runtime.wire import malformed_field

_log = get_logger(__name__)

_CODES = {code.value[0]: code for code in grpc.StatusCode}

Context = Any
"""grpc.aio.ServicerContext; the stubs lack `abort_with_status`."""


class Gate:
    """Whether the server takes calls: closed while it loads, open, closed for good while it drains."""

    def __init__(self) -> None:
        self._refusal: Callable[[], UnavailableError] | None = lambda: ServerStartingError(
            "the service is still loading", retry_after=1.0
        )

    def open(self) -> None:
        """Let calls in."""
        self._refusal = None

    def drain(self) -> None:
        """Refuse new calls because the server is going down."""
        self._refusal = lambda: ServerDrainingError("the service is going down", retry_after=1.0)

    def check(self) -> None:
        """Raise what a new call must be told, if it may not come in."""
        if self._refusal is not None:
            raise self._refusal()


class _Malformed:
    """Stands for a request that could not be parsed, until a handler can refuse it."""

    def __init__(self, field: str) -> None:
        self.field = field


class CallInterceptor(grpc.aio.ServerInterceptor):  # type: ignore[type-arg]  # generic in the stubs only
    """Wraps every handler of our own services; health and reflection pass untouched, so that they answer at any time.

    Args:
        services: full names of the services to guard.
        gate: whether calls may come in.
        default_deadline_s: given to a call that brings no deadline.
        max_deadline_s: a longer one is shortened to this.
    """

    def __init__(
        self, services: frozenset[str], gate: Gate, *, default_deadline_s: float, max_deadline_s: float
    ) -> None:
        self._services = services
        self._gate = gate
        self._default_deadline_s = default_deadline_s
        self._max_deadline_s = max_deadline_s
        for service in services:
            methods = descriptor_pool.Default().FindServiceByName(service).methods
            at_zero(INTERNAL_ERRORS, grpc_method=[method.name for method in methods])

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Any, Any] | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        """Wrap the handler, if it is one of ours."""
        handler = await continuation(handler_call_details)
        service, _, method = handler_call_details.method.removeprefix("/").partition("/")
        if service not in self._services:
            return handler
        if handler is None:
            RPC_SERVER_SECONDS.labels(service, "other", "UNIMPLEMENTED").observe(0.0)
            return None
        return self._wrap(handler, service, method)

    def _wrap(self, handler: Any, service: str, method: str) -> Any:
        guard = functools.partial(self._traced, service, method)
        deserialize = _tolerant(handler.request_deserializer)
        if handler.unary_unary:

            async def unary_unary(request: Any, context: Context) -> Any:
                async with guard(context):
                    return await handler.unary_unary(_well_formed(request), context)

            return grpc.unary_unary_rpc_method_handler(unary_unary, deserialize, handler.response_serializer)
        if handler.unary_stream:

            async def unary_stream(request: Any, context: Context) -> AsyncIterator[Any]:
                async with guard(context):
                    async for response in handler.unary_stream(_well_formed(request), context):
                        yield response

            return grpc.unary_stream_rpc_method_handler(unary_stream, deserialize, handler.response_serializer)
        if handler.stream_unary:

            async def stream_unary(requests: AsyncIterator[Any], context: Context) -> Any:
                async with guard(context):
                    return await handler.stream_unary(_all_well_formed(requests), context)

            return grpc.stream_unary_rpc_method_handler(stream_unary, deserialize, handler.response_serializer)

        async def stream_stream(requests: AsyncIterator[Any], context: Context) -> AsyncIterator[Any]:
            async with guard(context):
                async for response in handler.stream_stream(_all_well_formed(requests), context):
                    yield response

        return grpc.stream_stream_rpc_method_handler(stream_stream, deserialize, handler.response_serializer)

    @asynccontextmanager
    async def _traced(self, service: str, method: str, context: Context) -> AsyncIterator[None]:
        attributes = {"rpc.system": "grpc", "rpc.service": service, "rpc.method": method}
        with server_span(f"{service}/{method}", lambda: context.invocation_metadata() or (), attributes) as span:
            async with self._guard(service, method, context, span):
                yield

    @asynccontextmanager
    async def _guard(self, service: str, method: str, context: Context, span: Span) -> AsyncIterator[None]:
        loop = asyncio.get_running_loop()
        started = loop.time()
        code = grpc.StatusCode.OK
        RPC_SERVER_IN_FLIGHT.inc()
        try:
            self._gate.check()
            with deadline_scope(self._deadline(context)):
                yield
        except grpc.aio.AbortError:
            # A handler aborted by itself; the status is set already.
            code = _code_of(context)
            raise
        except LimbicError as error:
            code = error.code
            await context.abort_with_status(rpc_status.to_status(to_status(error)))
        except (asyncio.CancelledError, GeneratorExit):
            code = grpc.StatusCode.CANCELLED
            if not context.done():
                # Cancelled from within while the caller still waits: without a status it would wait for ever.
                cancelled = UnavailableError("the call was cancelled by the server", retry_after=1.0)
                await context.abort_with_status(rpc_status.to_status(to_status(cancelled)))
            raise
        except Exception as exc:  # noqa: BLE001
            if isinstance(exc, NotImplementedError) and _code_of(context) is grpc.StatusCode.UNIMPLEMENTED:
                # The generated base class says so of a method that the service does not override.
                code = grpc.StatusCode.UNIMPLEMENTED
                unserved = NotSupportedError("this version does not serve this call")
                await context.abort_with_status(rpc_status.to_status(to_status(unserved)))
            # The last line of defence: whatever it is, its text stays here.
            code = grpc.StatusCode.INTERNAL
            error_id = secrets.token_hex(6)
            INTERNAL_ERRORS.labels(method).inc()
            _log.error("internal error", grpc_method=method, error_id=error_id, exc_info=exc)
            fault = InternalError(f"internal error {error_id}; the service's log says what happened", errorId=error_id)
            await context.abort_with_status(rpc_status.to_status(to_status(fault)))
        finally:
            RPC_SERVER_IN_FLIGHT.dec()
            end_call(span, code)
            RPC_SERVER_SECONDS.labels(service, method, code.name).observe(loop.time() - started)

    def _deadline(self, context: Context) -> Deadline:
        remaining = context.time_remaining()
        if remaining is None:
            return Deadline.after(self._default_deadline_s)
        return Deadline.after(min(remaining, self._max_deadline_s))


def _code_of(context: Context) -> grpc.StatusCode:
    code = context.code()
    # A number where no code was set by its name.
    return code if isinstance(code, grpc.StatusCode) else _CODES.get(code, grpc.StatusCode.UNKNOWN)


def _tolerant(deserialize: Callable[[bytes], Message]) -> Callable[[bytes], Message | _Malformed]:
    message_class = getattr(deserialize, "__self__", None)

    def parse(data: bytes) -> Message | _Malformed:
        try:
            return deserialize(data)
        except DecodeError:
            descriptor = getattr(message_class, "DESCRIPTOR", None)
            return _Malformed(malformed_field(descriptor, data) if descriptor is not None else "request")

    return parse


def _well_formed(request: Any) -> Any:
    if isinstance(request, _Malformed):
        raise InvalidArgumentError(request.field, "is not valid UTF-8, or the message is not well-formed")
    return request


async def _all_well_formed(requests: AsyncIterator[Any]) -> AsyncIterator[Any]:
    async for request in requests:
        yield _well_formed(request)
