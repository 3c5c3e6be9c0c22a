"""What the state engine tells its callers, one leaf for each reason in the contract.

LimbicError
├── NotFoundError
│   ├── SessionNotFoundError       SESSION_NOT_FOUND
│   ├── TurnNotFoundError          TURN_NOT_FOUND
│   └── TemperamentNotFoundError   TEMPERAMENT_NOT_FOUND
├── AlreadyExistsError
│   ├── SessionExistsError         SESSION_EXISTS
│   ├── TurnExistsError            TURN_EXISTS
│   └── StimulusExistsError        STIMULUS_EXISTS
├── ResourceExhaustedError
│   ├── JournalBusyError           JOURNAL_BUSY
│   └── LimitExceededError         LIMIT_EXCEEDED
└── UnavailableError
    └── JournalUnavailableError    JOURNAL_UNAVAILABLE
"""

from __future__ import annotations

from limbic.runtime.errors import AlreadyExistsError, NotFoundError, ResourceExhaustedError, UnavailableError

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
    """The session was opened before with other settings."""

    reason = "SESSION_EXISTS"

    def __init__(self, session_id: str, field: str) -> None:
        super().__init__(
            f"session_id: session {session_id} exists with another {field}; the first stands",
            field=field,
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
