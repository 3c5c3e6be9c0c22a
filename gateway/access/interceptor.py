"""The door for gRPC. Every method is behind it, known or not, except those that are named here."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
from grpc_status import rpc_status

from gateway.access.access import Access
from gateway.access.visitor import enter
from limbic.runtime.errors import LimbicError, to_status

EXEMPT = frozenset({"/grpc.health.v1.Health/Check", "/grpc.health.v1.Health/Watch"})
"""Whoever keeps the process alive has no key, and learns nothing but that it lives."""


class KeyInterceptor(grpc.aio.ServerInterceptor):  # type: ignore[type-arg]  # generic in the stubs only
    """Asks every call for a key before anything of it is read.

    Args:
        access: knows the keys.
    """

    def __init__(self, access: Access) -> None:
        self._access = access

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Any, Any] | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        """Let the call in, or answer it with a refusal."""
        if not self._access.asks or handler_call_details.method in EXEMPT:
            return await continuation(handler_call_details)
        try:
            visitor = self._access.admit(_authorization(handler_call_details))
        except LimbicError as error:
            return _refusal(error)
        # A call is one task from here to its handler's end.
        enter(visitor)
        return await continuation(handler_call_details)


def _authorization(details: grpc.HandlerCallDetails) -> str:
    values = [value for key, value in details.invocation_metadata or () if key == "authorization"]
    # Two of them: nobody knows which one is meant.
    return values[0] if len(values) == 1 and isinstance(values[0], str) else ""


def _refusal(error: LimbicError) -> Any:
    status = rpc_status.to_status(to_status(error))

    async def refuse(requests: AsyncIterator[bytes], context: Any) -> None:
        await context.abort_with_status(status)

    # Of any kind of call this one reads nothing and sends nothing, so that it fits all of them.
    return grpc.stream_stream_rpc_method_handler(refuse)
