"""A peer that is slow to answer a connection, as on a busy machine, is waited for."""

from __future__ import annotations

import asyncio
import contextlib

from limbic.affect.v1 import affect_pb2, affect_pb2_grpc
from limbic.runtime.channels import ChannelOptions, open_channel
from limbic.runtime.server import RunningServer


async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, after: asyncio.Event) -> None:
    await after.wait()
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
    writer.close()


async def test_a_connection_may_take_longer_than_the_backoff(server: RunningServer) -> None:
    at_once, late = asyncio.Event(), asyncio.Event()
    at_once.set()

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asyncio.get_running_loop().call_later(3 * ChannelOptions().initial_reconnect_backoff_ms / 1e3, late.set)
        peer_reader, peer_writer = await asyncio.open_connection("127.0.0.1", server.port)
        await asyncio.gather(forward(reader, peer_writer, at_once), forward(peer_reader, writer, late))

    async with await asyncio.start_server(relay, "127.0.0.1", 0) as relay_server:
        port = relay_server.sockets[0].getsockname()[1]
        async with open_channel(f"127.0.0.1:{port}") as channel:
            stub = affect_pb2_grpc.AffectHeadServiceStub(channel)
            await stub.Classify(affect_pb2.ClassifyRequest(text="ok"))
