"""What was said: pages of a session's turns, the latest first to be asked for and oldest first within a page.

A token names where the page of earlier turns ends. Nothing is kept for it, and what is recorded meanwhile does not shift the pages.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final

from limbic.runtime.errors import InvalidArgumentError
from services.state_engine.errors import TurnNotFoundError
from services.state_engine.journal.facts import StimulusFact, TurnFact
from services.state_engine.journal.port import Journal
from services.state_engine.session import Session

TIP: Final = "tip"

_PATH_TOKEN, _NUMBER_TOKEN = "path:", "before:"


@dataclass(frozen=True, slots=True)
class Said:
    """A turn, what it made felt, and whether a rewind has left it behind."""

    turn: TurnFact
    stimuli: Sequence[StimulusFact]
    abandoned: bool


@dataclass(frozen=True, slots=True)
class Page:
    """Turns, oldest first, and the token of the page of earlier ones; empty if there is none."""

    turns: Sequence[Said]
    next_token: str


async def page_of_path(journal: Journal, session: Session, turn_id: str, limit: int, token: str) -> Page:
    """Return the latest turns on the path from the root to a turn.

    Raises:
        TurnNotFoundError: there is no such turn.
        InvalidArgumentError: the token is not one that an earlier page gave.
    """
    end = session.tip.turn_id if turn_id == TIP and TIP not in session.timeline else turn_id
    if end not in session.timeline:
        raise TurnNotFoundError("path_to_turn_id", end)
    if token:
        end = token.removeprefix(_PATH_TOKEN)
        if not token.startswith(_PATH_TOKEN) or end not in session.timeline:
            raise _bad_token()
    ids = list(islice(session.timeline.path(end), limit + 1))
    earlier = _PATH_TOKEN + ids.pop() if len(ids) > limit else ""
    turns = await journal.turns(session.fact.session_id, ids[::-1])
    return Page(await _with_stimuli(journal, session, turns), earlier)


async def page_of_all(journal: Journal, session: Session, limit: int, token: str) -> Page:
    """Return the turns that were recorded last.

    Raises:
        InvalidArgumentError: the token is not one that an earlier page gave.
    """
    before: int | None = None
    if token:
        number = token.removeprefix(_NUMBER_TOKEN)
        if not token.startswith(_NUMBER_TOKEN) or not (number.isascii() and number.isdigit() and len(number) <= 18):
            raise _bad_token()
        before = int(number)
    rows = await journal.turns_before(session.fact.session_id, before, limit + 1)
    more = len(rows) > limit
    rows = rows[1:] if more else rows
    turns = await _with_stimuli(journal, session, [row.turn for row in rows])
    return Page(turns, f"{_NUMBER_TOKEN}{rows[0].sequence}" if more else "")


async def _with_stimuli(journal: Journal, session: Session, turns: Sequence[TurnFact]) -> list[Said]:
    # A turn that a commit has just made durable may not have been taken in yet; it has no stimuli that we know of.
    ids = {
        turn.turn_id: session.timeline.stimulus_ids(turn.turn_id) for turn in turns if turn.turn_id in session.timeline
    }
    wanted = [stimulus_id for own in ids.values() for stimulus_id in own]
    stimuli = await journal.stimuli(session.fact.session_id, wanted) if wanted else []
    by_turn: dict[str, list[StimulusFact]] = {}
    for stimulus in stimuli:
        by_turn.setdefault(stimulus.turn_id, []).append(stimulus)
    return [Said(turn, by_turn.get(turn.turn_id, []), session.tip.abandoned(turn.turn_id)) for turn in turns]


def _bad_token() -> InvalidArgumentError:
    return InvalidArgumentError("page_token", "is not one that an earlier page gave")
