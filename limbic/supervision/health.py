"""Asks the processes how they are."""

from __future__ import annotations

import grpc
import httpx
from grpc_health.v1 import health_pb2, health_pb2_grpc

from limbic.runtime.channels import open_sync_channel
from limbic.runtime.settings import Settings
from limbic.supervision.processes import reachable

SERVING = "SERVING"
UNREACHABLE = "UNREACHABLE"


def health_of(address: str, service: str, timeout_s: float) -> str:
    """Return a service's answer to a gRPC health check by name (SERVING, NOT_SERVING …), or UNREACHABLE if there is none."""
    with open_sync_channel(reachable(address)) as channel:
        try:
            answer = health_pb2_grpc.HealthStub(channel).Check(
                health_pb2.HealthCheckRequest(service=service), timeout=timeout_s
            )
        except grpc.RpcError:
            return UNREACHABLE
    return str(health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status))


def ready_over_http(settings: Settings, timeout_s: float) -> tuple[bool, str]:
    """Ask the gateway's `/readyz`. Return whether it is ready, and what it said or why it said nothing."""
    scheme = "http" if settings.gateway.tls_cert is None else "https"
    try:
        # trust_env would send even a request to this host to the environment's proxy. The certificate names this host as others know it.
        with httpx.Client(trust_env=False, verify=False, timeout=timeout_s) as client:
            answer = client.get(f"{scheme}://{reachable(settings.gateway.http)}/readyz")
    except httpx.HTTPError as error:
        return False, f"no answer ({type(error).__name__})"
    return answer.status_code == httpx.codes.OK, f"HTTP {answer.status_code}"
