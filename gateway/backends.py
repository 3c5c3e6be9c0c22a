"""Watches whether the backends serve."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, cast

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from gateway.metrics import BACKEND_SERVING
from gateway.ports import BackendFailure
from limbic.llm.v1 import llm_pb2
from limbic.runtime.clock import Clock
from limbic.runtime.logs import get_logger

_log = get_logger(__name__)

STATE_ENGINE = "state-engine"
AFFECT_HEAD = "affect-head"
LIVING_LLM = "living-llm"

_INTERVAL_S = 1.0
"""Check and not Watch: an open watch would hold a backend's shutdown up for its whole grace."""
_TIMEOUT_S = 0.8
_UPSTREAMS_EVERY = 5
"""Checks between two looks at the upstreams of the language model."""


@dataclass(frozen=True, slots=True)
class BackendState:
    """Whether a backend serves. `serving` is None until the first answer; `since_ns`: when it changed last, since the epoch."""

    serving: bool | None
    since_ns: int


class Backends:
    """Asks each backend for its health at an interval.

    Args:
        channels: by the backend's name.
        upstreams: asks the living LLM for its upstreams, within a timeout in seconds.
        clock: dates the changes.
        sleep: waits between two checks.
    """

    def __init__(
        self,
        channels: dict[str, grpc.aio.Channel],
        upstreams: Callable[[float], Awaitable[list[llm_pb2.Upstream]]],
        clock: Clock,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._stubs = {name: health_pb2_grpc.HealthStub(channel) for name, channel in channels.items()}
        self._ask_upstreams = upstreams
        self._clock = clock
        self._sleep = sleep
        self._states = {name: BackendState(None, clock.now_ns()) for name in channels}
        self._upstreams: list[llm_pb2.Upstream] = []

    @property
    def states(self) -> dict[str, BackendState]:
        """The backends by name."""
        return dict(self._states)

    @property
    def upstreams(self) -> list[llm_pb2.Upstream]:
        """The upstreams of the language model, as last seen."""
        return list(self._upstreams)

    def may_serve(self, name: str) -> bool:
        """Tell whether a backend serves as far as is known; True before the first answer."""
        return self._states[name].serving is not False

    async def watch(self, name: str) -> None:
        """Check one backend for ever."""
        checks = 0
        while True:
            serving, why = await self._check(name)
            self._note(name, serving, why)
            if name == LIVING_LLM and self._states[name].serving and checks % _UPSTREAMS_EVERY == 0:
                await self._look_at_upstreams()
            checks += 1
            await self._sleep(_INTERVAL_S)

    async def _check(self, name: str) -> tuple[bool, str]:
        """Return whether it serves, and why not."""
        request = health_pb2.HealthCheckRequest()
        try:
            call = self._stubs[name].Check(request, timeout=_TIMEOUT_S)
            answer = await cast(Awaitable[Any], call)
        except grpc.RpcError as error:
            # Nobody's words: without an answer these are gRPC's own, and say if a certificate was refused.
            return False, cast(grpc.Call, error).details() or ""
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING), ""

    async def _look_at_upstreams(self) -> None:
        try:
            self._upstreams = await self._ask_upstreams(_TIMEOUT_S)
        except BackendFailure as failure:
            _log.debug("the upstreams are not known", code=failure.code)

    def _note(self, name: str, serving: bool, why: str) -> None:
        if self._states[name].serving is serving:
            return
        _log.info("backend changed", backend=name, serving=serving, **({"reason": why} if why else {}))
        self._states[name] = BackendState(serving, self._clock.now_ns())
        BACKEND_SERVING.labels(name).set(serving)
