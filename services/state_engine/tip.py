"""Where a conversation stands, and which of its turns a rewind has left behind."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import NamedTuple

from services.state_engine.timeline import Timeline


class Rewound(NamedTuple):
    """One move of the tip: the turn it went to, and the first turn that it left; None if it left none."""

    turn_id: str
    left: str | None


class Tip:
    """The turn that the next one follows by default; "" for the root.

    A rewind marks what it leaves: the branch that the old tip stood on, from the first turn that is not on the new tip's path, with all
    that follows from it. When the tip comes back to a turn, that turn and its path are not abandoned any more. So a turn that is not
    abandoned never follows one that is.

    Args:
        timeline: the tree.
        turn_id: where the conversation stands already.
        abandoned: what has been left behind already.
        rewinds: the moves that this came from.
    """

    __slots__ = ("_abandoned", "_rewinds", "_timeline", "turn_id")

    def __init__(
        self,
        timeline: Timeline,
        turn_id: str = "",
        abandoned: Iterable[str] = (),
        rewinds: Mapping[str, Rewound] = MappingProxyType({}),
    ) -> None:
        self.turn_id = turn_id
        self._timeline = timeline
        self._abandoned = {*abandoned}
        self._rewinds = {**rewinds}

    @property
    def all_abandoned(self) -> list[str]:
        """The turns that are left behind, in no order."""
        return [*self._abandoned]

    @property
    def rewinds(self) -> dict[str, Rewound]:
        """The moves, by their ids."""
        return {**self._rewinds}

    def move(self, turn_id: str) -> None:
        """Take a turn as the tip because it was said."""
        self.turn_id = turn_id
        back = self._timeline.parent(turn_id) if turn_id not in self._abandoned else turn_id
        while back is not None and back in self._abandoned:
            self._abandoned.remove(back)
            back = self._timeline.parent(back)

    def rewind(self, rewind_id: str, turn_id: str) -> None:
        """Go back to a turn, and mark what is left."""
        left = self._timeline.left_behind(self.turn_id, turn_id)
        if left is not None:
            self._abandoned.update(self._timeline.subtree(left))
        self._rewinds[rewind_id] = Rewound(turn_id, left)
        self.move(turn_id)

    def rewound(self, rewind_id: str) -> Rewound | None:
        """Return an earlier rewind, or None if there was none of this id."""
        return self._rewinds.get(rewind_id)

    def abandoned(self, turn_id: str) -> bool:
        """Whether a turn was left behind, and the tip has not come back to it."""
        return turn_id in self._abandoned

    def left_by(self, rewind_id: str) -> list[str]:
        """Return the turns that a rewind left behind and that still are, in the order in which they were added."""
        left = self._rewinds[rewind_id].left
        return [] if left is None else [turn for turn in self._timeline.subtree(left) if turn in self._abandoned]
