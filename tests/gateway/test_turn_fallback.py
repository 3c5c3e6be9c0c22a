"""What a turn says of itself when another upstream than the first one spoke."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from gateway.events import TurnDone
from limbic.llm.v1 import llm_pb2
from tests.gateway.fakes import FakeModel, World


class FallbackModel(FakeModel):
    """Speaks in place of another one."""

    async def generate(
        self, request: llm_pb2.GenerateRequest, timeout_s: float
    ) -> AsyncGenerator[llm_pb2.GenerateResponse, None]:
        async for response in super().generate(request, timeout_s):
            if response.HasField("started"):
                response.started.fallback.instead_of = "hosted"
                response.started.fallback.failure_class = "overloaded"
                response.started.fallback.detail = "it has no room now (status 429)"
            yield response


async def test_a_turn_that_a_fallback_answered_is_marked_as_degraded_with_the_reason() -> None:
    world = World()
    world.model = FallbackModel()
    world.restart()

    running = world.begin(session_is_new=True)
    await running.task

    done = running.events[-1]
    assert isinstance(done, TurnDone)
    reason = "the model spoke through the fallback local (hosted: it has no room now (status 429))"
    assert done.trace.degraded_reasons == (reason,)
    assert done.trace.upstream == "local"
    assert world.watcher.degraded == {("model", "fallback"): 1}
