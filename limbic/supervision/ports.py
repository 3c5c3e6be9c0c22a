"""Whether the ports are free, asked by binding them."""

from __future__ import annotations

import socket

from limbic.runtime.settings import Settings
from limbic.supervision.processes import Address, addresses


def is_free(address: str) -> bool:
    """Return whether HOST:PORT can be bound now. A Unix socket always can: a stale file is replaced."""
    if address.startswith("unix:"):
        return True
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        # A connection of an earlier run that still lingers is no hindrance to a server either.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, int(port)))
        except OSError:
            return False
    return True


def taken(settings: Settings) -> list[Address]:
    """Return the configured addresses on which something listens."""
    return [address for address in addresses(settings) if not is_free(address.value)]
