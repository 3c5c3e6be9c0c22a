"""What an operator asks: is it alive, is it ready, what does it measure, what has it seen."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from google.protobuf.json_format import MessageToDict
from prometheus_client import REGISTRY
from prometheus_client.exposition import choose_encoder

from gateway.access.access import Access
from gateway.access.visitor import current_visitor
from gateway.backends import AFFECT_HEAD, LIVING_LLM, STATE_ENGINE, BackendState
from limbic.gateway.v1 import gateway_pb2
from limbic.runtime.drain import Drain

_WITHOUT_IT = {
    STATE_ENGINE: "turns answer from the last known state, and what they learn waits on disk",
    AFFECT_HEAD: "turns are answered without being felt",
}
"""What a missing part means where the gateway is ready without it."""


def operations(
    backends: Callable[[], dict[str, BackendState]],
    snapshot: Callable[[], gateway_pb2.TelemetrySnapshot],
    drain: Drain,
    access: Access,
) -> APIRouter:
    """Build the face.

    Args:
        backends: the backends as last seen.
        snapshot: the telemetry as it is now.
        drain: whether the process is going down.
        access: says who asks.
    """
    face = APIRouter()

    @face.get("/healthz")
    async def healthz() -> dict[str, str]:
        """Say that the process runs. Depends on nothing else: a restart mends only the process itself."""
        return {"status": "alive"}

    @face.get("/readyz")
    async def readyz() -> JSONResponse:
        """Say whether a turn can be answered, which takes the language model, and which other parts are missing.

        Not ready from SIGTERM on, while the turns in flight still finish: whoever sends turns here should send the next one elsewhere.
        Whoever comes without a key, where one is needed, is told no more than that.
        """
        states = backends()
        parts = {name: _word(state) for name, state in states.items()}
        missing = [LIVING_LLM] if not states[LIVING_LLM].serving else []
        degraded = {name: meaning for name, meaning in _WITHOUT_IT.items() if not states[name].serving}
        ready = not missing and not drain.begun
        if access.asks and current_visitor() is None:
            return JSONResponse({"ready": ready}, status_code=200 if ready else 503)
        body = {"ready": ready, "draining": drain.begun, "missing": missing, "degraded": degraded, "parts": parts}
        return JSONResponse(body, status_code=200 if ready else 503)

    @face.get("/metrics")
    def metrics(request: Request) -> Response:
        """Return the metrics in the format that the client prefers; exemplars are in OpenMetrics only."""
        encode, content_type = choose_encoder(request.headers.get("accept", ""))
        return Response(encode(REGISTRY), headers={"content-type": content_type})

    @face.get("/telemetry/snapshot")
    async def telemetry_snapshot() -> dict[str, Any]:
        """Return what the gateway has seen lately, as the contract's TelemetrySnapshot with its field names."""
        fields: dict[str, Any] = MessageToDict(
            snapshot(), preserving_proto_field_name=True, always_print_fields_with_no_presence=True
        )
        return fields

    return face


def _word(state: BackendState) -> str:
    return "unknown" if state.serving is None else "serving" if state.serving else "not serving"
