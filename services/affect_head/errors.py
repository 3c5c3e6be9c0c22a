"""What callers of the affect head are told.

ResourceExhaustedError ── QueueFullError            QUEUE_FULL
UnavailableError       ── HeadUnavailableError      HEAD_UNAVAILABLE
DeadlineError          ── DeadlineTooShortError     DEADLINE_TOO_SHORT

HeadFileError is for the operator: it ends the start and never reaches a caller.
"""

from __future__ import annotations

from pathlib import Path

from limbic.runtime.errors import DeadlineError, ResourceExhaustedError, UnavailableError


class QueueFullError(ResourceExhaustedError):
    """The bounded queue has no room."""

    reason = "QUEUE_FULL"


class HeadUnavailableError(UnavailableError):
    """The model is not loaded, or the server is going down."""

    reason = "HEAD_UNAVAILABLE"


class DeadlineTooShortError(DeadlineError):
    """Less time was left than the reading needed."""

    reason = "DEADLINE_TOO_SHORT"


class HeadFileError(Exception):
    """A GGUF file is no head that can be served. The text names the file and says what is wrong with it."""

    def __init__(self, path: Path, problem: str) -> None:
        super().__init__(f"{path} cannot be served as an affect head: {problem}")
        self.problem = problem
