"""What the tests ask the services, besides what the client offers."""

from __future__ import annotations

from collections.abc import Sequence

import grpc
import httpx
from google.protobuf.timestamp_pb2 import Timestamp
from grpc_health.v1 import health_pb2, health_pb2_grpc
from prometheus_client.parser import text_string_to_metric_families

from limbic.gateway.v1 import gateway_pb2, gateway_pb2_grpc
from limbic.runtime.channels import open_channel
from limbic.state.v1 import state_pb2, state_pb2_grpc
from limbic.supervision.processes import PROCESSES
from tests.end_to_end.stack import Stack, eventually

ANSWER_S = 5.0


class Calls:
    """Typed stubs of a stack's services, and what is often asked of them. `metadata`: what brings a key, where one is asked for."""

    def __init__(self, stack: Stack, metadata: tuple[tuple[str, str], ...] = ()) -> None:
        self._stack = stack
        self._metadata = metadata
        self._channels = {p.name: open_channel(p.settings(stack.settings).listen) for p in PROCESSES}
        self.gateway: gateway_pb2_grpc.GatewayServiceAsyncStub = gateway_pb2_grpc.GatewayServiceStub(
            self._channels["gateway"]
        )
        self.state: state_pb2_grpc.StateEngineServiceAsyncStub = state_pb2_grpc.StateEngineServiceStub(
            self._channels["state-engine"]
        )

    async def close(self) -> None:
        """Close the connections."""
        for channel in self._channels.values():
            await channel.close(None)

    async def health(self, name: str) -> str:
        """Return what a process says of its service: SERVING, NOT_SERVING, or the status code of a call that failed."""
        service = next(p.service for p in PROCESSES if p.name == name)
        request = health_pb2.HealthCheckRequest(service=service)
        try:
            answer = await health_pb2_grpc.HealthStub(self._channels[name]).Check(request, timeout=ANSWER_S)
        except grpc.aio.AioRpcError as error:
            return error.code().name
        return str(health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status))

    async def until_well(self, timeout_s: float = 30.0) -> None:
        """Wait until every process serves and the gateway has seen it."""

        async def well() -> bool:
            if any([await self.health(process.name) != "SERVING" for process in PROCESSES]):
                return False
            request = gateway_pb2.GetTelemetrySnapshotRequest()
            snapshot = (
                await self.gateway.GetTelemetrySnapshot(request, timeout=ANSWER_S, metadata=self._metadata)
            ).snapshot
            return all(backend.serving for backend in snapshot.backends) and not snapshot.spooled_facts

        await eventually("every process serves and nothing waits on disk", well, timeout_s)

    async def metric(self, address: str, name: str, **labels: str) -> float:
        """Read a metric's value, summed over the labels that are not named."""
        async with httpx.AsyncClient(trust_env=False) as http:
            text = (await http.get(f"http://{address}/metrics", timeout=ANSWER_S)).text
        samples = [s for family in text_string_to_metric_families(text) for s in family.samples if s.name == name]
        assert samples, f"there is no metric {name}"
        return sum(s.value for s in samples if labels.items() <= s.labels.items())

    async def twin(self, turns: Sequence[state_pb2.Turn], session_id: str) -> None:
        """Tell the engine a session anew, each turn at once with all that it made felt."""
        await self.state.CreateSession(state_pb2.CreateSessionRequest(session_id=session_id), timeout=ANSWER_S)
        for turn in turns:
            request = state_pb2.RecordTurnRequest(
                session_id=session_id,
                turn_id=turn.turn_id,
                parent_turn_id=turn.parent_turn_id,
                role=turn.role,
                occurred_at=turn.occurred_at,
                text=turn.text,
                cut=turn.cut,
                stimuli=turn.stimuli,
            )
            await self.state.RecordTurn(request, timeout=ANSWER_S)


def levels(state: state_pb2.State) -> dict[str, float]:
    """Return a state's levels and moods by name."""
    return {level.name: level.value for level in state.levels} | {mood.name: mood.intensity for mood in state.moods}


def now() -> Timestamp:
    """Return this moment."""
    moment = Timestamp()
    moment.GetCurrentTime()
    return moment
