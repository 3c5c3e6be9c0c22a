"""What the embedded model has computed of several conversations, so that they do not push each other out of its one context.

The context holds one conversation. When another one speaks, what it holds is copied out and kept, and what was kept of the other one is
copied back: that takes milliseconds, where computing it again takes seconds. (A context with a place for each conversation would take the
memory for all of them at once, and allow no more than it was made for.) Kept states are bounded in bytes; the one that was used longest
ago goes first. They are found by the tokens with which a prompt begins, so a fork finds what was computed for the conversation it came
from, and a new conversation the persona that another one began with.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Protocol

from services.living_llm.engine import EngineState, common_prefix
from services.living_llm.metrics import SESSION_STATE_BYTES, SESSION_STATES_EVICTED, SESSION_SWITCHES

# A copy costs as much as computing a few tokens; for fewer it is not worth it.
_WORTH_TOKENS = 16


class StateStore:
    """States by session, within a bound. Pure.

    Args:
        limit_bytes: all states together; one that is larger is not kept.
    """

    def __init__(self, limit_bytes: int) -> None:
        self._limit = limit_bytes
        self._states: OrderedDict[str, EngineState] = OrderedDict()
        self.bytes = 0

    def keep(self, session_id: str, state: EngineState) -> int:
        """Keep a session's state instead of its earlier one and return how many of others had to go for it."""
        self.drop(session_id)
        if state.size > self._limit:
            return 0
        self._states[session_id] = state
        self.bytes += state.size
        evicted = 0
        while self.bytes > self._limit:
            self.bytes -= self._states.popitem(last=False)[1].size
            evicted += 1
        return evicted

    def drop(self, session_id: str) -> None:
        """Forget a session's state, if there is one."""
        if (state := self._states.pop(session_id, None)) is not None:
            self.bytes -= state.size

    def best(self, adapter: str, prompt: Sequence[int]) -> tuple[EngineState | None, int]:
        """Return the state that knows most of a prompt's beginning under an adapter, and how many tokens that is."""
        best, most = "", 0
        for session_id, state in self._states.items():
            if state.adapter == adapter and (known := common_prefix(state.tokens, prompt)) > most:
                best, most = session_id, known
        if not most:
            return None, 0
        self._states.move_to_end(best)
        return self._states[best], most


class StatefulEngine(Protocol):
    """The part of an Engine that is used here."""

    @property
    def known(self) -> Sequence[int]:
        """The tokens that the context holds."""
        ...

    @property
    def adapter(self) -> str:
        """The adapter under which they were computed."""
        ...

    def use_adapter(self, name: str) -> None:
        """Compute under another adapter from now on, and forget what is known if it is another."""
        ...

    def state(self) -> EngineState:
        """Copy what the context holds."""
        ...

    def restore(self, state: EngineState) -> None:
        """Replace what the context holds."""
        ...


class Sessions:
    """Brings the engine to the conversation that speaks next. For the thread that owns the engine.

    Args:
        limit_bytes: what may be kept of conversations that do not speak now.
    """

    def __init__(self, limit_bytes: int) -> None:
        self._store = StateStore(limit_bytes)
        self._present = ""

    def enter(self, engine: StatefulEngine, session_id: str, adapter: str, prompt: Sequence[int]) -> None:
        """Make the engine know as much as possible of a prompt's beginning without computing anything.

        Args:
            engine: holds the conversation that spoke last.
            session_id: the conversation that speaks next; all without an id count as one.
            adapter: what it speaks under.
            prompt: its tokens.
        """
        if (session_id, adapter) == (self._present, engine.adapter):
            return
        if len(engine.known) >= _WORTH_TOKENS:
            SESSION_STATES_EVICTED.inc(self._store.keep(self._present, engine.state()))
        self._present = session_id
        engine.use_adapter(adapter)
        here = common_prefix(engine.known, prompt)
        state, known = self._store.best(adapter, prompt)
        if state is not None and known >= here + _WORTH_TOKENS:
            engine.restore(state)
            SESSION_SWITCHES.labels("restored").inc()
        else:
            SESSION_SWITCHES.labels("not_restored").inc()
        # The context now holds it, and will hold more.
        self._store.drop(session_id)
        SESSION_STATE_BYTES.set(self._store.bytes)
