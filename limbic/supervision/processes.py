"""The four processes: their names, their services and their addresses."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import limbic
from limbic.runtime.settings import ServerSettings, Settings
from limbic.runtime.tls import face_certificates, local_socket

_ROOT = Path(limbic.__file__).resolve().parent.parent
"""Where relative paths of the settings begin."""


@dataclass(frozen=True, slots=True)
class Process:
    """One supervised process.

    Attributes:
        name: its name in supervisord.conf, in the logs and for people.
        section: its section of the settings.
        service: full name of the gRPC service that it serves.
    """

    name: str
    section: str
    service: str

    def settings(self, settings: Settings) -> ServerSettings:
        """Return its own section."""
        section: ServerSettings = getattr(settings, self.section)
        return section

    def local(self, settings: Settings) -> str:
        """Return where this user's own checks find it on this host: where it speaks TLS, a Unix socket beside it."""
        section = self.settings(settings)
        if face_certificates(settings.runtime, section) is None:
            return reachable(section.listen)
        return local_socket(_ROOT / settings.runtime.data_dir, self.name)


GATEWAY = Process("gateway", "gateway", "limbic.gateway.v1.GatewayService")

PROCESSES = (
    Process("state-engine", "state", "limbic.state.v1.StateEngineService"),
    Process("affect-head", "affect", "limbic.affect.v1.AffectHeadService"),
    Process("living-llm", "llm", "limbic.llm.v1.LivingLlmService"),
    GATEWAY,
)
"""In the order in which they are started."""

WATCHER = "watcher"
"""supervisord's event listener, which counts what becomes of them."""

ON_FATAL = "SUPERVISED_ON_FATAL"
"""Environment variable of the watcher: `end` ends supervisord when it gives a process up; `stay` leaves the others running."""


@dataclass(frozen=True, slots=True)
class Address:
    """One place where a process listens.

    Attributes:
        process: the process's name.
        setting: the environment variable that chooses it.
        value: HOST:PORT or unix:PATH.
    """

    process: str
    setting: str
    value: str


def addresses(settings: Settings) -> Iterator[Address]:
    """Yield every address on which one of the processes, or the watcher, listens."""
    for process in PROCESSES:
        section = process.settings(settings)
        for key in ("listen", "metrics", "http"):
            if value := getattr(section, key, None):
                yield Address(process.name, f"LIMBIC_{process.section.upper()}__{key.upper()}", value)
    if settings.runtime.supervision_metrics:
        yield Address(WATCHER, "LIMBIC_RUNTIME__SUPERVISION_METRICS", settings.runtime.supervision_metrics)


def reachable(address: str) -> str:
    """Return where a client on this host finds what listens on `address`: a wildcard is no destination."""
    host, _, port = address.rpartition(":")
    return f"127.0.0.1:{port}" if host in ("0.0.0.0", "[::]") else address
