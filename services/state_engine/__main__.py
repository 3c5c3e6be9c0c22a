"""Runs the state engine: `python -m services.state_engine`."""

from __future__ import annotations

import sys

from limbic.runtime.clock import SystemClock
from limbic.runtime.server import run_service
from limbic.runtime.settings import SettingsError, load_settings
from services.state_engine.errors import TemperamentNotFoundError
from services.state_engine.journal.port import JournalOpenError
from services.state_engine.server import build_service
from services.state_engine.temperament import TemperamentError


def main() -> None:
    """Run until SIGTERM; end with status 1 and one sentence where the configuration cannot be used."""
    try:
        settings = load_settings()
        service = build_service(settings.state, SystemClock())
        run_service("state-engine", service, settings.runtime, settings.state)
    except (SettingsError, TemperamentError, TemperamentNotFoundError, JournalOpenError) as error:
        sys.exit(f"state-engine: {error}")


if __name__ == "__main__":
    main()
