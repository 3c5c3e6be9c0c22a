"""How calls are made from asyncio. `limbic.client.sync.calls` has the same names for programs without an event loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Self, TypeVar

import grpc

from limbic.client.errors import CallError
from limbic.client.messages import TurnEvent, event_of
from limbic.gateway.v1 import gateway_pb2
from limbic.runtime.channels import open_channel as open_aio_channel
from limbic.runtime.errors import failure_of

RequestT = TypeVar("RequestT")
ResponseT = TypeVar("ResponseT")
ItemT = TypeVar("ItemT")

Channel = grpc.aio.Channel
Lines = Iterable[str] | AsyncIterable[str]
Metadata = tuple[tuple[str, str], ...]


def open_channel(target: str, credentials: grpc.ChannelCredentials | None) -> grpc.aio.Channel:
    """Open a channel. It connects when it is first used."""
    return open_aio_channel(target, credentials=credentials)


async def close(channel: grpc.aio.Channel) -> None:
    """Close a channel and cancel what still runs on it."""
    await channel.close(None)


async def answer(
    method: grpc.aio.UnaryUnaryMultiCallable[RequestT, ResponseT],
    request: RequestT,
    deadline_s: float,
    metadata: Metadata = (),
) -> ResponseT:
    """Make a call and return its answer.

    Raises:
        CallError: it failed.
    """
    try:
        return await method(request, timeout=deadline_s, metadata=metadata)
    except grpc.RpcError as error:
        raise CallError(failure_of(error)) from error


async def answer_to_stream(
    method: grpc.aio.StreamUnaryMultiCallable[RequestT, ResponseT],
    lines: Lines,
    request_of: Callable[[int, str], RequestT],
    deadline_s: float,
) -> ResponseT:
    """Make a call that takes a stream, of which each line makes one request, and return its answer.

    Raises:
        CallError: it failed.
    """
    broken: list[Exception] = []

    async def requests() -> AsyncIterator[RequestT]:
        number = 0
        try:
            if isinstance(lines, AsyncIterable):
                async for line in lines:
                    yield request_of(number, line)
                    number += 1
            else:
                for line in lines:
                    yield request_of(number, line)
                    number += 1
        except Exception as error:
            # gRPC would take it for a fault of its own, and lose it.
            broken.append(error)
            raise

    try:
        return await method(requests(), timeout=deadline_s)
    except (grpc.RpcError, asyncio.CancelledError) as error:
        # A call whose requests break off is cancelled by gRPC itself.
        if broken:
            raise broken[0] from None
        if isinstance(error, grpc.RpcError):
            raise CallError(failure_of(error)) from error
        raise


@asynccontextmanager
async def stream(
    method: grpc.aio.UnaryStreamMultiCallable[RequestT, ResponseT],
    request: RequestT,
    item_of: Callable[[ResponseT], ItemT],
    deadline_s: float,
    metadata: Metadata = (),
) -> AsyncIterator[AsyncIterator[ItemT]]:
    """Make a call that answers with a stream, for the length of a block. Reading it raises CallError where it breaks off."""
    call = method(request, timeout=deadline_s, metadata=metadata)

    async def items() -> AsyncIterator[ItemT]:
        try:
            async for response in call:
                yield item_of(response)
        except grpc.RpcError as error:
            raise CallError(failure_of(error)) from error

    try:
        yield items()
    finally:
        # To stop reading does not end a call; only this does.
        call.cancel()


class TurnStream:
    """A turn that is running. To be read once: as the contract's responses, as events, or as the reply's text."""

    def __init__(self, responses: AsyncIterator[gateway_pb2.TurnResponse]) -> None:
        self._responses = responses

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> gateway_pb2.TurnResponse:
        return await anext(self._responses)

    async def events(self) -> AsyncIterator[TurnEvent]:
        """Yield what the turn sends, by its type."""
        async for response in self._responses:
            event = event_of(response)
            if event is not None:
                yield event

    async def text(self) -> AsyncIterator[str]:
        """Yield the reply, as it comes."""
        async for response in self._responses:
            if response.HasField("delta"):
                yield response.delta.text


def turn_stream(responses: AsyncIterator[gateway_pb2.TurnResponse]) -> TurnStream:
    """Return a running turn from its responses."""
    return TurnStream(responses)
