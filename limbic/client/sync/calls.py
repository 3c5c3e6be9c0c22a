"""How calls are made without an event loop. `limbic.client.aio.calls` has the same names for asyncio."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Self, TypeVar

import grpc

from limbic.client.errors import CallError
from limbic.client.messages import TurnEvent, event_of
from limbic.gateway.v1 import gateway_pb2
from limbic.runtime.channels import open_sync_channel as open_channel
from limbic.runtime.errors import failure_of

RequestT = TypeVar("RequestT")
ResponseT = TypeVar("ResponseT")
ItemT = TypeVar("ItemT")

Channel = grpc.Channel
Lines = Iterable[str]
Metadata = tuple[tuple[str, str], ...]

__all__ = [
    "Channel",
    "Lines",
    "Metadata",
    "SyncTurnStream",
    "answer",
    "answer_to_stream",
    "close",
    "open_channel",
    "stream",
    "turn_stream",
]


def close(channel: grpc.Channel) -> None:
    """Close a channel and cancel what still runs on it."""
    channel.close()


def answer(
    method: grpc.UnaryUnaryMultiCallable[RequestT, ResponseT],
    request: RequestT,
    deadline_s: float,
    metadata: Metadata = (),
) -> ResponseT:
    """Make a call and return its answer.

    Raises:
        CallError: it failed.
    """
    try:
        return method(request, timeout=deadline_s, metadata=metadata)
    except grpc.RpcError as error:
        raise CallError(failure_of(error)) from error


def answer_to_stream(
    method: grpc.StreamUnaryMultiCallable[RequestT, ResponseT],
    lines: Lines,
    request_of: Callable[[int, str], RequestT],
    deadline_s: float,
) -> ResponseT:
    """Make a call that takes a stream, of which each line makes one request, and return its answer.

    Raises:
        CallError: it failed.
    """
    broken: list[Exception] = []

    def requests() -> Iterator[RequestT]:
        try:
            for number, line in enumerate(lines):
                yield request_of(number, line)
        except Exception as error:
            # gRPC reads them in a thread of its own, where it would be lost.
            broken.append(error)
            raise

    try:
        return method(requests(), timeout=deadline_s)
    except grpc.RpcError as error:
        if broken:
            raise broken[0] from None
        raise CallError(failure_of(error)) from error


@contextmanager
def stream(
    method: grpc.UnaryStreamMultiCallable[RequestT, ResponseT],
    request: RequestT,
    item_of: Callable[[ResponseT], ItemT],
    deadline_s: float,
    metadata: Metadata = (),
) -> Iterator[Iterator[ItemT]]:
    """Make a call that answers with a stream, for the length of a block. Reading it raises CallError where it breaks off."""
    call = method(request, timeout=deadline_s, metadata=metadata)

    def items() -> Iterator[ItemT]:
        try:
            for response in call:
                yield item_of(response)
        except grpc.RpcError as error:
            raise CallError(failure_of(error)) from error

    try:
        yield items()
    finally:
        # To stop reading does not end a call; only this does.
        call.cancel()  # type: ignore[no-untyped-call]


class SyncTurnStream:
    """A turn that is running. To be read once: as the contract's responses, as events, or as the reply's text."""

    def __init__(self, responses: Iterator[gateway_pb2.TurnResponse]) -> None:
        self._responses = responses

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> gateway_pb2.TurnResponse:
        return next(self._responses)

    def events(self) -> Iterator[TurnEvent]:
        """Yield what the turn sends, by its type."""
        for response in self._responses:
            event = event_of(response)
            if event is not None:
                yield event

    def text(self) -> Iterator[str]:
        """Yield the reply, as it comes."""
        for response in self._responses:
            if response.HasField("delta"):
                yield response.delta.text


def turn_stream(responses: Iterator[gateway_pb2.TurnResponse]) -> SyncTurnStream:
    """Return a running turn from its responses."""
    return SyncTurnStream(responses)
