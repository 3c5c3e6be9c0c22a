"""Tells the state engine what happened, or the disk if the engine does not answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gateway.consent import Consent
from gateway.ports import BackendFailure, Fact, SpoolPort, SpoolRefusedError, StatePort
from limbic.state.v1 import state_pb2


@dataclass(frozen=True, slots=True)
class Told:
    """What became of a fact that was not refused.

    Attributes:
        state: the state that now holds, if the engine took the fact.
        duplicate: the engine had it already.
        label: why the engine did not take it, from a small fixed set; empty if it did.
        lost: neither the engine nor the disk could take it.
    """

    state: state_pb2.State | None = None
    duplicate: bool = False
    label: str = ""
    lost: bool = False


class Recorder:
    """Keeps the order of each session's facts: while one of them waits on disk, those that come later wait behind it.

    Args:
        state: the engine.
        spool: the disk.
        timeout_s: for one call to the engine.
        consent: waited for before anything is told; None where it has been given.
    """

    def __init__(self, state: StatePort, spool: SpoolPort, timeout_s: float, consent: Consent | None = None) -> None:
        self._consent = consent
        self._state = state
        self._spool = spool
        self._timeout_s = timeout_s

    @property
    def timeout_s(self) -> float:
        """How long a fact may take before it goes to the disk, in seconds."""
        return self._timeout_s

    def is_behind(self, session_id: str) -> bool:
        """Tell whether the engine does not know all of a session yet, because facts of it wait on disk."""
        return self._spool.holds(session_id)

    async def tell(self, fact: Fact, *, engine_answers: bool = True) -> Told:
        """Tell a fact. `engine_answers` is False where the turn has just seen that it does not.

        Raises:
            BackendFailure: the engine refused the fact for good.
            InvalidArgumentError: consent was refused, and nothing was told.
        """
        if self._consent is not None:
            await self._consent.given()
        label = "waiting" if self._spool.holds(fact.session_id) else "" if engine_answers else "unavailable"
        if not label:
            try:
                recorded = await self._state.record(fact, self._timeout_s)
            except BackendFailure as failure:
                if not failure.may_pass:
                    raise
                label = failure.label
            else:
                return Told(recorded.state, recorded.duplicate)
        try:
            await self._spool.append(fact)
        except SpoolRefusedError:
            return Told(label=label, lost=True)
        return Told(label=label)

    async def tell_turns(
        self, turns: Sequence[state_pb2.RecordTurnRequest], *, engine_answers: bool = True
    ) -> state_pb2.State | None:
        """Tell turns of one session of which each follows the one before it, in one step. Those that the engine has are passed over.

        Returns the state at the last one, if the engine took them.

        Raises:
            BackendFailure: the engine refused one for good.
            InvalidArgumentError: consent was refused, and nothing was told.
        """
        if not turns:
            return None
        if self._consent is not None:
            await self._consent.given()
        session_id = turns[0].session_id
        if engine_answers and not self._spool.holds(session_id):
            request = state_pb2.RecordTurnsRequest(session_id=session_id, turns=turns)
            try:
                return await self._state.record_turns(request, self._timeout_s)
            except BackendFailure as failure:
                if failure.reason != "TURN_EXISTS" and not failure.may_pass:
                    raise
                engine_answers = not failure.may_pass
        # The engine is away, or has one of them in another form, as it may be told of each by itself.
        state: state_pb2.State | None = None
        for turn in turns:
            try:
                state = (await self.tell(turn, engine_answers=engine_answers)).state
            except BackendFailure as failure:
                if failure.reason != "TURN_EXISTS":
                    raise
                state = None
        return state
