"""Several engines and heads behind a real Envoy, with the project's own configuration, on ports of the tests' own."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import envoy
import httpx
import yaml

from limbic.supervision.health import SERVING, health_of
from limbic.supervision.supervisor import ROOT
from tests.end_to_end.stack import eventually, free_ports

ENVOY = Path(envoy.__file__).parent / "_bin" / "envoy"
CONFIGURATION = ROOT / "deploy" / "envoy" / "envoy.yaml"


class Member:
    """One process of the fleet.

    Attributes:
        address: where it serves gRPC.
        process: itself.
    """

    def __init__(self, module: str, section: str, folder: Path, ports: list[int], **settings: str) -> None:
        self.address = f"127.0.0.1:{ports[0]}"
        self.metrics = f"127.0.0.1:{ports[1]}"
        own = {"LISTEN": self.address, "METRICS": self.metrics, **settings}
        environment = {**os.environ, **{f"LIMBIC_{section}__{key}": value for key, value in own.items()}}
        environment["LIMBIC_RUNTIME__DATA_DIR"] = str(folder)
        self.process = subprocess.Popen(
            [sys.executable, "-m", module], cwd=ROOT, env=environment, stdout=subprocess.DEVNULL
        )

    def answered(self, method: str, code: str = "OK") -> float:
        """Return how many calls it has answered with a code."""
        text = httpx.get(f"http://{self.metrics}/metrics", trust_env=False).text
        name = "limbic_rpc_server_handling_seconds_count"
        lines = [x for x in text.splitlines() if x.startswith(name) and f'"{method}"' in x and f'"{code}"' in x]
        return sum(float(line.rpartition(" ")[2]) for line in lines)


class Fleet:
    """Envoy and what stands behind it. Its ports replace those of the configuration; nothing else of it is changed.

    Args:
        backends: by the cluster's name.
    """

    def __init__(self, folder: Path, backends: dict[str, list[Member]]) -> None:
        self.backends = backends
        self.folder = folder
        self._ports = dict(zip((*backends, "admin"), free_ports(len(backends) + 1), strict=True))
        self._stack = ExitStack()

    def target(self, cluster: str) -> str:
        """Return where Envoy takes calls for a cluster."""
        return f"127.0.0.1:{self._ports[cluster]}"

    def configuration(self) -> dict[str, Any]:
        """Return the project's configuration with the addresses of this fleet."""
        whole: dict[str, Any] = yaml.safe_load(CONFIGURATION.read_text("utf-8"))
        whole["admin"]["address"]["socket_address"]["port_value"] = self._ports["admin"]
        static = whole["static_resources"]
        for kind in ("listeners", "clusters"):
            static[kind] = [entry for entry in static[kind] if entry["name"] in self.backends]
        for listener in static["listeners"]:
            listener["address"]["socket_address"] = {
                "address": "127.0.0.1",
                "port_value": self._ports[listener["name"]],
            }
        for cluster in static["clusters"]:
            ports = [int(member.address.rpartition(":")[2]) for member in self.backends[cluster["name"]]]
            endpoints = [
                {"endpoint": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": port}}}}
                for port in ports
            ]
            cluster["load_assignment"]["endpoints"] = [{"lb_endpoints": endpoints}]
        return whole

    async def __aenter__(self) -> Fleet:
        """Start Envoy and wait until it sees every backend healthy."""
        self._start()
        try:
            expected = {name: len(members) for name, members in self.backends.items()}
            await eventually("Envoy to see all healthy", lambda: self._sees(expected), timeout_s=120)
        except BaseException:
            self._stack.close()
            raise
        return self

    def _start(self) -> None:
        own = self.folder / "envoy.yaml"
        own.write_text(yaml.safe_dump(self.configuration()), "utf-8")
        with (self.folder / "envoy.log").open("wb") as log:
            command = [str(ENVOY), "-c", str(own), "--concurrency", "1", "--disable-hot-restart"]
            process = self._stack.enter_context(subprocess.Popen(command, stdout=log, stderr=log))
        self._stack.callback(process.terminate)
        for member in [member for members in self.backends.values() for member in members]:
            self._stack.enter_context(member.process)
            self._stack.callback(member.process.kill)

    async def __aexit__(self, *_: object) -> None:
        """End all."""
        self._stack.close()

    async def healthy(self) -> dict[str, int]:
        """Return how many healthy backends Envoy sees, by cluster."""
        async with httpx.AsyncClient(trust_env=False) as client:
            url = f"http://127.0.0.1:{self._ports['admin']}/clusters?format=json"
            try:
                seen = (await client.get(url)).json()["cluster_statuses"]
            except httpx.HTTPError:
                return {}
        counts = {}
        for cluster in seen:
            flags = [host["health_status"] for host in cluster.get("host_statuses", [])]
            failing = [flag for flag in flags if set(flag) - {"eds_health_status"}]
            counts[cluster["name"]] = len(flags) - len(failing)
        return counts

    async def _sees(self, expected: dict[str, int]) -> bool:
        members = [(name, member) for name, members in self.backends.items() for member in members]
        for _, member in members:
            assert member.process.poll() is None, f"a backend ended with status {member.process.returncode}"
        serving = await asyncio.to_thread(
            lambda: all(health_of(member.address, "", timeout_s=1.0) == SERVING for _, member in members)
        )
        return serving and await self.healthy() == expected
