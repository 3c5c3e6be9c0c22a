"""Facts of the platform that we rely on, each shown by its effect: a version that changes one of them fails here."""

from __future__ import annotations

import asyncio
import signal
import socket
import sys
from pathlib import Path

import grpc
import pytest
from google.protobuf import empty_pb2

from limbic.affect.v1 import affect_pb2, affect_pb2_grpc
from limbic.runtime.channels import open_channel, streaming
from limbic.runtime.server import RunningServer
from limbic.runtime.settings import ServerSettings
from tests.runtime.scripted_service import ScriptedService

HERE = Path(__file__).parent


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


async def test_a_port_that_is_taken_is_refused(server: RunningServer) -> None:
    settings = ServerSettings(listen=f"127.0.0.1:{server.port}")

    with pytest.raises(RuntimeError, match="bind"):
        RunningServer(ScriptedService(), settings)


async def test_a_proxy_of_the_environment_is_not_used(server: RunningServer, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "grpc_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    async with open_channel(f"127.0.0.1:{server.port}") as channel:
        stub = affect_pb2_grpc.AffectHeadServiceStub(channel)
        await stub.Classify(affect_pb2.ClassifyRequest(text="x"), timeout=10)


async def test_a_peer_that_is_gone_is_tried_again_soon() -> None:
    attempts: asyncio.Queue[None] = asyncio.Queue()

    def hang_up(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        attempts.put_nowait(None)
        writer.close()

    listener = await asyncio.start_server(hang_up, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    async with listener, open_channel(f"127.0.0.1:{port}") as channel:
        call = channel.unary_unary("/x/y", request_serializer=bytes, response_deserializer=bytes)(
            b"", wait_for_ready=True
        )
        # The library's own backoff (1 s, growing by 1.6) would need more than 25 s for seven tries; ours needs about 3.
        async with asyncio.timeout(15):
            for _ in range(7):
                await attempts.get()
        call.cancel()


class Endless:
    """A server whose one stream never ends, and that says when it was cancelled."""

    def __init__(self) -> None:
        self.cancelled = asyncio.Event()

    async def start(self) -> tuple[grpc.aio.Server, int]:
        async def stream(_request: object, _context: object):  # type: ignore[no-untyped-def]
            try:
                while True:
                    yield empty_pb2.Empty()
                    await asyncio.sleep(0)
            except (asyncio.CancelledError, GeneratorExit):
                self.cancelled.set()
                raise

        server = grpc.aio.server()
        handler = grpc.unary_stream_rpc_method_handler(
            stream, empty_pb2.Empty.FromString, empty_pb2.Empty.SerializeToString
        )
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("x", {"y": handler}),))
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        return server, port


async def test_a_stream_that_is_broken_off_is_cancelled() -> None:
    endless = Endless()
    server, port = await endless.start()
    async with open_channel(f"127.0.0.1:{port}") as channel:
        method = channel.unary_stream(
            "/x/y",
            request_serializer=empty_pb2.Empty.SerializeToString,
            response_deserializer=empty_pb2.Empty.FromString,
        )
        async with streaming(method(empty_pb2.Empty())) as responses:
            async for _ in responses:
                break
        await asyncio.wait_for(endless.cancelled.wait(), 10)
    await server.stop(None)


async def test_sigterm_lets_calls_finish_and_runs_the_clean_up() -> None:
    port = free_port()
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(HERE / "scripted_service.py"),
        f"127.0.0.1:{port}",
        stdout=asyncio.subprocess.PIPE,
        cwd=HERE.parents[1],
        env={"PYTHONPATH": str(HERE.parents[1])},
    )
    assert process.stdout is not None
    async with open_channel(f"127.0.0.1:{port}") as channel:
        stub = affect_pb2_grpc.AffectHeadServiceStub(channel)
        call = asyncio.ensure_future(
            stub.Classify(affect_pb2.ClassifyRequest(text="hold"), timeout=30, wait_for_ready=True)
        )
        while b"holding" not in await process.stdout.readline():
            assert process.returncode is None
        process.send_signal(signal.SIGTERM)

        assert (await call).HasField("reading")
    output = await process.stdout.read()
    assert b"closed what it held" in output
    assert await process.wait() == 0
