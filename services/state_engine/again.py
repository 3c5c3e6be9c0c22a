"""Judges a call anew where another engine was first."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any, Final, ParamSpec, TypeVar

from services.state_engine.errors import JournalUnavailableError
from services.state_engine.journal.port import JournalConflictError

_Parameters = ParamSpec("_Parameters")
_Result = TypeVar("_Result")

_TRIES: Final = 4
"""More than one after the other can only lose if others take id after id of the same call."""


def again_after_conflict(
    call: Callable[_Parameters, Coroutine[Any, Any, _Result]],
) -> Callable[_Parameters, Coroutine[Any, Any, _Result]]:
    """Make a call once more when an id of it was taken while it was on its way to the journal.

    What was recorded then decides: the next look finds it, and the call is a repetition, or is refused because the first stands.
    """

    @wraps(call)
    async def again(*arguments: _Parameters.args, **named: _Parameters.kwargs) -> _Result:
        for _ in range(_TRIES):
            try:
                return await call(*arguments, **named)
            except JournalConflictError:
                continue
        raise JournalUnavailableError("written")

    return again
