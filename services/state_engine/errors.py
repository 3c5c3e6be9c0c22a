"""What the state engine tells its callers, one leaf for each reason in the contract.

LimbicError
├── NotFoundError
│   ├── SessionNotFoundError       SESSION_NOT_FOUND
│   ├── TurnNotFoundError          TURN_NOT_FOUND
│   ├── StimulusNotFoundError      STIMULUS_NOT_FOUND
│   ├── PauseNotFoundError         PAUSE_NOT_FOUND
│   └── TemperamentNotFoundError   TEMPERAMENT_NOT_FOUND
├── AlreadyExistsError
│   ├── SessionExistsError         SESSION_EXISTS
│   ├── TurnExistsError            TURN_EXISTS
│   ├── StimulusExistsError        STIMULUS_EXISTS
│   ├── PauseExistsError           PAUSE_EXISTS
│   └── RewindExistsError          REWIND_EXISTS
├── ResourceExhaustedError
│   ├── JournalBusyError           JOURNAL_BUSY
│   └── LimitExceededError         LIMIT_EXCEEDED
├── UnavailableError
│   └── JournalUnavailableError    JOURNAL_UNAVAILABLE
└── JournalCorruptError            JOURNAL_CORRUPT
"""

from __future__ import annotations

import grpc

from limbic.runtime.errors import (
    AlreadyExistsError,
    LimbicError,
    NotFoundError,
    ResourceExhaustedError,
    UnavailableError,
)

BUSY_RETRY_S = 0.1
"""A full queue is written in about this time."""
UNAVAILABLE_RETRY_S = 1.0


class SessionNotFoundError(NotFoundError):
    """There is no such session."""

    reason = "SESSION_NOT_FOUND"

    def __init__(self, session_id: str) -> None:
        super().__init__(
            f"session_id: there is no session {session_id}; CreateSession opens one",
            field="session_id",
            sessionId=session_id,
        )


class TurnNotFoundError(NotFoundError):
    """The session has no such turn. `field` is where the request names it."""

    reason = "TURN_NOT_FOUND"

    def __init__(self, field: str, turn_id: str) -> None:
        super().__init__(f"{field}: the session has no turn {turn_id}", field=field, turnId=turn_id)


class StimulusNotFoundError(NotFoundError):
    """The session has no such stimulus."""

    reason = "STIMULUS_NOT_FOUND"

    def __init__(self, stimulus_id: str) -> None:
        super().__init__(
            f"stimulus_id: the session has no stimulus {stimulus_id}", field="stimulus_id", stimulusId=stimulus_id
        )


class PauseNotFoundError(NotFoundError):
    """The session has no such pause."""

    reason = "PAUSE_NOT_FOUND"

    def __init__(self, pause_id: str) -> None:
        super().__init__(f"pause_id: the session has no pause {pause_id}", field="pause_id", pauseId=pause_id)


class TemperamentNotFoundError(NotFoundError):
    """There is no such temperament."""

    reason = "TEMPERAMENT_NOT_FOUND"

    def __init__(self, name: str, known: tuple[str, ...]) -> None:
        names = ", ".join(known)
        super().__init__(
            f"temperament: there is no temperament {name}; there are {names}",
            field="temperament",
            temperament=name,
            known=names,
        )


class SessionExistsError(AlreadyExistsError):
    """The session was opened before with another `what`. `field` is where the request names the session."""

    reason = "SESSION_EXISTS"

    def __init__(self, session_id: str, what: str, field: str = "session_id") -> None:
        super().__init__(
            f"{field}: session {session_id} exists with another {what}; the first stands",
            field=what,
            sessionId=session_id,
        )


class TurnExistsError(AlreadyExistsError):
    """The turn id was used before for something else."""

    reason = "TURN_EXISTS"

    def __init__(self, turn_id: str, field: str) -> None:
        super().__init__(
            f"turn_id: turn {turn_id} exists with another {field}; the first stands", field=field, turnId=turn_id
        )


class StimulusExistsError(AlreadyExistsError):
    """The stimulus id was used before for something else."""

    reason = "STIMULUS_EXISTS"

    def __init__(self, stimulus_id: str, field: str) -> None:
        super().__init__(
            f"stimulus_id: stimulus {stimulus_id} exists with another {field}; the first stands",
            field=field,
            stimulusId=stimulus_id,
        )


class PauseExistsError(AlreadyExistsError):
    """The pause's id was used before for another pause, or it ended at another moment."""

    reason = "PAUSE_EXISTS"

    def __init__(self, pause_id: str, what: str) -> None:
        super().__init__(
            f"pause_id: pause {pause_id} {what} at another moment; the first stands", field="from", pauseId=pause_id
        )


class RewindExistsError(AlreadyExistsError):
    """The rewind's id was used before for another turn."""

    reason = "REWIND_EXISTS"

    def __init__(self, rewind_id: str) -> None:
        super().__init__(
            f"rewind_id: rewind {rewind_id} went to another turn; the first stands", field="turn_id", rewindId=rewind_id
        )


class JournalBusyError(ResourceExhaustedError):
    """The write queue is full; nothing was recorded."""

    reason = "JOURNAL_BUSY"

    def __init__(self) -> None:
        super().__init__("the journal's queue is full; nothing was recorded", retry_after=BUSY_RETRY_S)


class LimitExceededError(ResourceExhaustedError):
    """The session holds as many facts as it may."""

    reason = "LIMIT_EXCEEDED"

    def __init__(self, limit: int) -> None:
        super().__init__(f"the session holds as many facts as it may, {limit:,}; fork it to go on", limit=str(limit))


class JournalUnavailableError(UnavailableError):
    """The journal could not be read or written; nothing was recorded."""

    reason = "JOURNAL_UNAVAILABLE"

    def __init__(self, action: str) -> None:
        super().__init__(f"the journal could not be {action}", retry_after=UNAVAILABLE_RETRY_S, action=action)


class JournalCorruptError(LimbicError):
    """The journal's file is damaged. A retry does not help."""

    code = grpc.StatusCode.DATA_LOSS
    reason = "JOURNAL_CORRUPT"

    def __init__(self) -> None:
        super().__init__("the journal's file is damaged; nothing was recorded, and a copy of it has to be put back")
