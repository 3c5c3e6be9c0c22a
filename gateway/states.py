"""The last known states, for the time when the state engine does not answer."""

from __future__ import annotations

from collections import OrderedDict

from limbic.state.v1 import state_pb2

MAX_SESSIONS = 10_000
"""Sessions whose last state is kept; about a kilobyte each."""


def at_rest(state: state_pb2.State) -> state_pb2.State:
    """Return what a state relaxes to, which is also what holds at the root: each level at its baseline, no mood."""
    rest = state_pb2.State(session_id=state.session_id, as_of=state.as_of)
    for level in state.levels:
        rest.levels.add(name=level.name, value=level.baseline, baseline=level.baseline, band=state_pb2.BAND_STEADY)
    for mood in state.moods:
        rest.moods.add(name=mood.name)
    return rest


class LastStates:
    """What each session felt when we last heard of it.

    Args:
        max_sessions: sessions to keep; beyond it the one that was heard of longest ago goes.
    """

    def __init__(self, max_sessions: int = MAX_SESSIONS) -> None:
        self._max_sessions = max_sessions
        self._states: OrderedDict[str, state_pb2.State] = OrderedDict()
        self._rest: state_pb2.State | None = None

    def remember(self, state: state_pb2.State) -> None:
        """Remember a state that the engine told."""
        self._states[state.session_id] = state
        self._states.move_to_end(state.session_id)
        if len(self._states) > self._max_sessions:
            self._states.popitem(last=False)
        if state.levels:
            self._rest = at_rest(state)

    def get(self, session_id: str) -> state_pb2.State | None:
        """Return the session's last known state."""
        return self._states.get(session_id)

    def forget(self, session_id: str) -> None:
        """Forget a session."""
        self._states.pop(session_id, None)

    def baseline(self, session_id: str) -> state_pb2.State:
        """Return the best guess at a session of which nothing is known: the baselines seen last, or no levels at all.

        A session of another temperament rests elsewhere, which is why a turn that speaks from this is marked.
        """
        guess = state_pb2.State(session_id=session_id)
        if self._rest is not None:
            guess.MergeFrom(self._rest)
            guess.session_id = session_id
            guess.ClearField("as_of")
        return guess
