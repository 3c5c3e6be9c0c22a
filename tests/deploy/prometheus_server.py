"""A Prometheus of the tests' own, from Debian's package: the shipped configuration, other targets, and everything a second apart."""

from __future__ import annotations

import math
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import yaml

from tests.deploy.queries import PROMETHEUS, RULES
from tests.end_to_end.stack import free_ports

EVERY = "1s"


class PrometheusServer:
    """A server that runs.

    Args:
        base: its address.
    """

    def __init__(self, base: str) -> None:
        self._http = httpx.AsyncClient(base_url=base, trust_env=False, timeout=20.0)

    async def close(self) -> None:
        await self._http.aclose()

    async def get(self, path: str, **parameters: str) -> Any:
        """Ask its API, and return the data."""
        response = await self._http.get(f"/api/v1/{path}", params=parameters)
        answer = response.json()
        assert answer["status"] == "success", answer
        return answer["data"]

    async def ready(self) -> bool:
        try:
            return (await self._http.get("/-/ready")).status_code == httpx.codes.OK
        except httpx.TransportError:
            return False

    async def values(self, expr: str) -> list[float]:
        """Return what an expression gives now, without what is no number."""
        result = await self.get("query", query=expr)
        assert result["resultType"] == "vector", expr
        numbers = [float(sample["value"][1]) for sample in result["result"]]
        return [number for number in numbers if math.isfinite(number)]


@contextmanager
def prometheus(folder: Path, targets: dict[str, str]) -> Iterator[str]:
    """Start one for the length of a block, and yield its address.

    Args:
        folder: holds its configuration and its data.
        targets: where each process serves its metrics.
    """
    program = shutil.which("prometheus")
    assert program, "Prometheus is not installed: sudo apt-get install prometheus"
    config = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text("utf-8"))
    config["global"] = {"scrape_interval": EVERY, "scrape_timeout": EVERY, "evaluation_interval": EVERY}
    (job,) = config["scrape_configs"]
    job["static_configs"] = [
        {"targets": [address], "labels": {"process": process}} for process, address in targets.items()
    ]
    (folder / "rules").mkdir()
    for path in RULES:
        rules = yaml.safe_load(path.read_text("utf-8"))
        for group in rules["groups"]:
            group["interval"] = EVERY
            for rule in group["rules"]:
                if "for" in rule:
                    rule["for"] = EVERY
        (folder / "rules" / path.name).write_text(yaml.safe_dump(rules), "utf-8")
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config), "utf-8")
    (port,) = free_ports(1)
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            [
                program,
                f"--config.file={folder / 'prometheus.yml'}",
                f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address=127.0.0.1:{port}",
                "--enable-feature=exemplar-storage",
                "--log.level=warn",
            ],
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(60.0)
