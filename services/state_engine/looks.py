"""Work on a path that another thread does, while its session goes on: what happens to the path meanwhile is written down.

A thread may read a timeline: what it reads only grows, and the rest changes one piece at a time. Whether all that it saw was of one moment
is known afterwards.
"""

from __future__ import annotations

from collections.abc import Callable

from services.state_engine.known_folds import Folded


class Look:
    """A look at a timeline from another thread. Made and taken back by the timeline.

    Attributes:
        touched: the turns whose stimuli changed meanwhile.
        void: whether the session's clock did.
    """

    __slots__ = ("touched", "void")

    def __init__(self) -> None:
        self.touched: list[int] = []
        self.void = False


class Refold(Look):
    """A fold over more than may hold up others. `run` may be called in another thread.

    Attributes:
        found: what it has found; None before.
    """

    __slots__ = ("_run", "found")

    def __init__(self, run: Callable[[], Folded]) -> None:
        super().__init__()
        self._run = run
        self.found: Folded | None = None

    def run(self) -> None:
        """Fold."""
        self.found = self._run()
