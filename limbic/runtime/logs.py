"""Structured logs: one line an event, JSON or for the console. What people said is never logged here."""

from __future__ import annotations

import hashlib
import logging
import re
import sys
from typing import Literal, TextIO

import structlog

LogFormat = Literal["json", "console"]

_OWNER = re.compile(r"k\.[a-z2-7]{16}\.")
_OURS = re.compile(r"(?:s|t|chat|user)-[0-9a-f]{24}|c\.[0-9a-f]{32}\.[0-9a-f]{16}")
"""The forms of ids that the gateway makes: random, or hashes."""


def configure_logging(service: str, level: str, log_format: LogFormat, stream: TextIO | None = None) -> None:
    """Set up structlog and route the standard library's loggers through it.

    Args:
        service: stands on every line.
        level: lines below it are not written.
        log_format: JSON, or for people.
        stream: where to; standard output if none is given.
    """
    stream = stream or sys.stdout
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]
    if log_format == "json":
        render: list[structlog.typing.Processor] = [
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ]
    else:
        # The default formatter prints every frame's local variables, and those hold what people said.
        plain = structlog.dev.plain_traceback
        render = [structlog.dev.ConsoleRenderer(colors=stream.isatty(), exception_formatter=plain)]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *render],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
    # httpx writes a line with the URL of every request.
    logging.getLogger("httpx").setLevel(logging.WARNING)
    structlog.contextvars.bind_contextvars(service=service)


def shown_id(value: str) -> str:
    """Return an id as logs and feeds show it: as it is if we made it, else hashed, since a client may have put a name or words into it.

    `printf %s ID | b2sum -l 96` gives the same hash for whoever looks for one.
    """
    owner = _OWNER.match(value)
    space, own = (owner.group(), value[owner.end() :]) if owner is not None else ("", value)
    if not own or _OURS.fullmatch(own) is not None:
        return value
    return f"{space}#{hashlib.blake2b(own.encode('utf-8', 'surrogatepass'), digest_size=12).hexdigest()}"


def get_logger(name: str) -> structlog.stdlib.BoundLogger:
    """Return the logger of a module."""
    logger: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(name)
    return logger
