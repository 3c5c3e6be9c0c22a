"""The living LLM behind a real gRPC port, for tests."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import grpc

from limbic.llm.v1 import llm_pb2, llm_pb2_grpc
from limbic.runtime.channels import open_channel
from limbic.runtime.clock import Clock
from limbic.runtime.errors import RpcFailure, failure_of
from limbic.runtime.server import RunningServer
from limbic.runtime.settings import LlmSettings, UpstreamSettings
from limbic.state.v1 import state_pb2
from services.living_llm.assembly import make_upstreams
from services.living_llm.server import LivingLlmService
from services.living_llm.upstream import Upstream

PERSONA = "You are Ada, a warm and curious friend."


def openai_settings(url: str, **changes: object) -> LlmSettings:
    """Settings for an upstream at this URL, with waits that a test can afford."""
    quick = {"retry_initial_s": 0.001, "retry_max_s": 0.002, "first_delta_timeout_s": 5.0, "idle_timeout_s": 5.0}
    upstream = UpstreamSettings(url=url, model="fake-7b")
    settings = LlmSettings(upstream=upstream)
    return settings.model_copy(update={"listen": "127.0.0.1:0", **quick, **changes})


class SetClock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.at = 1000.0

    def monotonic(self) -> float:
        return self.at

    def now_ns(self) -> int:
        return int(self.at * 1e9)


@asynccontextmanager
async def serving(
    settings: LlmSettings, *upstreams: Upstream, clock: Clock | None = None
) -> AsyncIterator[llm_pb2_grpc.LivingLlmServiceAsyncStub]:
    """Run the service and yield a stub for it."""
    service = LivingLlmService(settings, upstreams or make_upstreams(settings), clock=clock)
    server = RunningServer(service, settings, lame_duck_s=0.0, drain_s=1.0)
    await server.start()
    channel = open_channel(f"127.0.0.1:{server.port}")
    try:
        yield llm_pb2_grpc.LivingLlmServiceStub(channel)
    finally:
        await channel.close(None)
        await server.stop()


def user(text: str) -> llm_pb2.Message:
    """A message of the person."""
    return llm_pb2.Message(role=state_pb2.ROLE_USER, text=text)


def character(text: str) -> llm_pb2.Message:
    """A message of the character."""
    return llm_pb2.Message(role=state_pb2.ROLE_ASSISTANT, text=text)


def request(*messages: llm_pb2.Message, **fields: object) -> llm_pb2.GenerateRequest:
    """A request with a persona."""
    return llm_pb2.GenerateRequest(persona=PERSONA, messages=messages or (user("Hello!"),), **fields)  # type: ignore[arg-type]


@dataclass
class Heard:
    """What a stream brought, checked for its order."""

    started: llm_pb2.Started | None = None
    text: str = ""
    done: llm_pb2.Done | None = None
    failure: RpcFailure | None = None
    kinds: list[str] = field(default_factory=list)


async def hear(
    stub: llm_pb2_grpc.LivingLlmServiceAsyncStub, wanted: llm_pb2.GenerateRequest, *, timeout_s: float = 120.0
) -> Heard:
    """Take a whole reply, or what there is of it."""
    heard = Heard()
    try:
        async for response in stub.Generate(wanted, timeout=timeout_s):
            kind = response.WhichOneof("event")
            assert kind is not None
            heard.kinds.append(kind)
            if kind == "started":
                heard.started = response.started
            elif kind == "delta":
                assert response.delta.text
                heard.text += response.delta.text
            else:
                heard.done = response.done
    except grpc.aio.AioRpcError as error:
        heard.failure = failure_of(error)
    expected = ["started"] + ["delta"] * heard.kinds.count("delta") + ["done"]
    assert heard.kinds == expected[: len(heard.kinds)]
    return heard
