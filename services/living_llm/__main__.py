"""Starts the living LLM: `python -m services.living_llm`."""

from __future__ import annotations

import sys

from limbic.runtime.llama import LlamaError
from limbic.runtime.logs import get_logger
from limbic.runtime.models import ModelFileError
from limbic.runtime.server import run_service
from limbic.runtime.settings import SettingsError, load_settings
from services.living_llm.assembly import make_upstreams
from services.living_llm.control_vectors import ControlVectorError
from services.living_llm.expression_table import ExpressionTableError
from services.living_llm.formats import PromptFormatError
from services.living_llm.openai import UpstreamSettingsError
from services.living_llm.server import LivingLlmService


def main() -> None:
    """Serve until SIGTERM. Ends with status 1 for bad settings, or a model that cannot speak, and says why."""
    try:
        settings = load_settings()
        service = LivingLlmService(settings.llm, make_upstreams(settings.llm, settings.gateway.persona))
    except (SettingsError, ModelFileError, UpstreamSettingsError) as error:
        sys.exit(f"living-llm: {error}")
    try:
        run_service("living-llm", service, settings.runtime, settings.llm)
    except (
        SettingsError,
        ModelFileError,
        LlamaError,
        PromptFormatError,
        ControlVectorError,
        ExpressionTableError,
    ) as error:
        get_logger(__name__).error("cannot serve", reason=str(error))
        sys.exit(1)


if __name__ == "__main__":
    main()
