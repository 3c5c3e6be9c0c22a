"""Runs the gateway: `python -m gateway`."""

from __future__ import annotations

import sys

from gateway.service import GatewayService
from gateway.spool_files import SpoolLockedError
from limbic.runtime.logs import get_logger
from limbic.runtime.server import run_service
from limbic.runtime.settings import SettingsError, load_settings


def main() -> None:
    """Serve until SIGTERM. Ends with status 1 for bad settings or a spool that cannot be used, and says why."""
    try:
        settings = load_settings()
    except SettingsError as error:
        sys.exit(f"gateway: {error}")
    try:
        service = GatewayService(settings.gateway, settings.runtime)
        run_service("gateway", service, settings.runtime, settings.gateway, service.guard)
    except (SettingsError, SpoolLockedError, OSError) as error:
        get_logger(__name__).error("cannot serve", reason=str(error))
        sys.exit(1)


if __name__ == "__main__":
    main()
