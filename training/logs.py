"""Where the pipeline reports its progress: standard error, and a file if LOTRAINER_LOG names one."""

from __future__ import annotations

import logging
import os

LOG_FILE_VARIABLE = "LOTRAINER_LOG"

logger = logging.getLogger("training")


def configure_logging() -> None:
    """Send the pipeline's log lines to standard error, and append them to the file named by LOTRAINER_LOG."""
    handlers: list[logging.Handler] = [logging.StreamHandler()]
    if path := os.environ.get(LOG_FILE_VARIABLE):
        handlers.append(logging.FileHandler(path, encoding="utf-8"))
    form = logging.Formatter("%(asctime)s %(levelname)s %(message)s")
    logger.handlers.clear()
    for handler in handlers:
        handler.setFormatter(form)
        logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
