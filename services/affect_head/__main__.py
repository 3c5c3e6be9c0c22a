"""Runs the affect head: `python -m services.affect_head`."""

from __future__ import annotations

import functools
import sys

from limbic.runtime.llama import LlamaError
from limbic.runtime.logs import get_logger
from limbic.runtime.models import ModelFileError
from limbic.runtime.server import run_service
from limbic.runtime.settings import SettingsError, load_settings
from services.affect_head.errors import HeadFileError
from services.affect_head.loading import open_head
from services.affect_head.server import AffectHeadService


def main() -> None:
    """Serve until SIGTERM. Ends with status 1 for bad settings, or a head that cannot be served, and says why."""
    try:
        settings = load_settings()
    except SettingsError as error:
        sys.exit(f"affect-head: {error}")
    service = AffectHeadService(settings.affect, functools.partial(open_head, settings.affect))
    try:
        run_service("affect-head", service, settings.runtime, settings.affect)
    except (SettingsError, ModelFileError, HeadFileError, LlamaError) as error:
        get_logger(__name__).error("cannot serve", reason=str(error))
        sys.exit(1)


if __name__ == "__main__":
    main()
