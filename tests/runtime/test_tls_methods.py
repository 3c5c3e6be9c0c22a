"""Between services: no method of any of them is reached without a certificate."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor import FileDescriptor
from grpc_channelz.v1 import channelz_pb2
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2

from limbic.affect.v1 import affect_pb2, affect_pb2_grpc
from limbic.llm.v1 import llm_pb2, llm_pb2_grpc
from limbic.runtime.channels import open_channel
from limbic.runtime.server import RunningServer
from limbic.runtime.tls import Certificates, channel_credentials, server_credentials
from limbic.state.v1 import state_pb2, state_pb2_grpc
from tests.authority import Authority
from tests.runtime.conftest import loopback

BESIDE = (health_pb2, reflection_pb2, channelz_pb2)


class Bare:
    """A service none of whose methods does anything: what is tried is whether they are reached."""

    def __init__(self, file: FileDescriptor, add: Any, servicer: Any) -> None:
        (service,) = file.services_by_name.values()
        self.full_name: str = service.full_name
        self._add = add
        self._servicer = servicer

    def register(self, server: grpc.aio.Server) -> None:
        self._add(self._servicer, server)

    async def start(self) -> None:
        pass

    def drain(self) -> None:
        pass

    async def stop(self) -> None:
        pass


@pytest.fixture
def files(tmp_path: Path) -> Certificates:
    authority = Authority(tmp_path)
    issued = authority.issue("ours")
    return Certificates(issued.cert, issued.key, authority.ca)


async def reached(channel: grpc.aio.Channel, method: str) -> bool:
    """Return whether the service answered: with anything but that there is no connection to it."""
    stream = channel.stream_stream(method, bytes, bytes)(iter([b""]), timeout=20.0)
    try:
        async for _ in stream:
            break
    except grpc.aio.AioRpcError as error:
        return error.code() is not grpc.StatusCode.UNAVAILABLE
    finally:
        stream.cancel()
    return True


@pytest.mark.parametrize(
    "service",
    [
        Bare(
            state_pb2.DESCRIPTOR,
            state_pb2_grpc.add_StateEngineServiceServicer_to_server,
            state_pb2_grpc.StateEngineServiceServicer(),
        ),
        Bare(
            affect_pb2.DESCRIPTOR,
            affect_pb2_grpc.add_AffectHeadServiceServicer_to_server,
            affect_pb2_grpc.AffectHeadServiceServicer(),
        ),
        Bare(
            llm_pb2.DESCRIPTOR,
            llm_pb2_grpc.add_LivingLlmServiceServicer_to_server,
            llm_pb2_grpc.LivingLlmServiceServicer(),
        ),
    ],
    ids=lambda service: str(service.full_name),
)
async def test_every_method_needs_a_certificate(service: Bare, files: Certificates) -> None:
    modules = {"state": state_pb2, "affect": affect_pb2, "llm": llm_pb2}
    own = modules[service.full_name.split(".")[1]]
    methods = [
        f"/{described.full_name}/{method.name}"
        for module in (own, *BESIDE)
        for described in module.DESCRIPTOR.services_by_name.values()
        for method in described.methods
    ]
    credentials = server_credentials(files)
    server = RunningServer(
        service, loopback(), lame_duck_s=0, drain_s=0.2, credentials=credentials, expose_channelz=True
    )
    await server.start()
    nameless = grpc.ssl_channel_credentials(files.ca.read_bytes() if files.ca else None)
    for credential in (None, nameless):
        async with open_channel(f"localhost:{server.port}", credentials=credential) as channel:
            assert not [method for method in methods if await reached(channel, method)]
    async with open_channel(f"localhost:{server.port}", credentials=channel_credentials(files)) as channel:
        assert [method for method in methods if not await reached(channel, method)] == []
    await server.stop()


async def test_reflection_is_served_only_where_it_is_wanted(files: Certificates) -> None:
    service = Bare(
        llm_pb2.DESCRIPTOR, llm_pb2_grpc.add_LivingLlmServiceServicer_to_server, llm_pb2_grpc.LivingLlmServiceServicer()
    )
    server = RunningServer(service, loopback(), lame_duck_s=0, drain_s=0.2, expose_contracts=False)
    await server.start()
    async with open_channel(f"127.0.0.1:{server.port}") as channel:
        method = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"
        stream = channel.stream_stream(method, bytes, bytes)(iter([b""]))
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            async for _ in stream:
                pass
    await server.stop()
    assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED
