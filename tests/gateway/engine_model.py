"""A small state engine in memory, as strict about ids as the real one. One level moves by ten for each unit of valence."""

from __future__ import annotations

import asyncio

from gateway.ports import BackendFailure, Fact, Recorded
from limbic.state.v1 import state_pb2

RESTING = 50.0
UNTOLD_NS = 1_799_999_990_000_000_000
"""The engine's own moment of a turn for which nobody gave one. Its clock is not the gateway's."""


class EngineModel:
    """Implements StatePort.

    Attributes:
        facts: every fact that was accepted and was new, in order.
        calls: the name of every call that arrived.
        failure: raised by every call, if set.
        refuse: failures by method name ("get_state", "list_turns", "record"), raised instead of answering.
        hold, hold_records, hold_lists: calls (every one, those that record, those that list turns) wait for it, if set.
    """

    def __init__(self, *, keeps_text: bool = True) -> None:
        self.facts: list[Fact] = []
        self.calls: list[str] = []
        self.timeouts: list[float] = []
        self.failure: BackendFailure | None = None
        self.refuse: dict[str, BackendFailure] = {}
        self.hold: asyncio.Event | None = None
        self.hold_records: asyncio.Event | None = None
        self.hold_lists: asyncio.Event | None = None
        self.tips: dict[str, str] = {}
        self.turns: dict[tuple[str, str], state_pb2.Turn] = {}
        self._keeps_text = keeps_text

    async def get_state(self, request: state_pb2.GetStateRequest, timeout_s: float) -> state_pb2.State:
        await self._arrive("get_state", timeout_s)
        self._check_session(request.session_id)
        return self.state(request.session_id, request.turn_id or self.tips[request.session_id])

    async def list_turns(self, request: state_pb2.ListTurnsRequest, timeout_s: float) -> state_pb2.ListTurnsResponse:
        await self._arrive("list_turns", timeout_s)
        self._check_session(request.session_id)
        turn_id = request.path_to_turn_id
        if turn_id:
            turns = self.path(request.session_id, self.tips[request.session_id] if turn_id == "tip" else turn_id)
        else:
            turns = [turn for (session_id, _), turn in self.turns.items() if session_id == request.session_id]
        end = int(request.page_token) if request.page_token else len(turns)
        begin = max(0, end - request.page_size)
        return state_pb2.ListTurnsResponse(turns=turns[begin:end], next_page_token=str(begin) if begin else "")

    async def record(self, fact: Fact, timeout_s: float) -> Recorded:
        await self._arrive("record", timeout_s)
        return self.take(fact)

    async def record_turns(self, request: state_pb2.RecordTurnsRequest, timeout_s: float) -> state_pb2.State:
        await self._arrive("record", timeout_s)
        self._check_session(request.session_id)
        before = dict(self.turns), dict(self.tips), list(self.facts)
        try:
            return [self._record_turn(turn) for turn in request.turns][-1].state
        except BackendFailure:
            self.turns, self.tips, self.facts = before
            raise

    def take(self, fact: Fact) -> Recorded:
        """Decide about a fact."""
        if isinstance(fact, state_pb2.CreateSessionRequest):
            existed = fact.session_id in self.tips
            if not existed:
                if fact.temperament == "missing":
                    raise BackendFailure("NOT_FOUND", "TEMPERAMENT_NOT_FOUND")
                self.tips[fact.session_id] = ""
                self._accept(fact)
            return Recorded(self.state(fact.session_id, ""), existed)
        self._check_session(fact.session_id)
        if isinstance(fact, state_pb2.RecordTurnRequest):
            return self._record_turn(fact)
        new = self._add(fact.session_id, fact.turn_id, fact.stimulus)
        if new:
            self._accept(fact)
        return Recorded(self.state(fact.session_id, self.tips[fact.session_id]), not new)

    def path(self, session_id: str, turn_id: str) -> list[state_pb2.Turn]:
        """Return the turns from the root to one."""
        path: list[state_pb2.Turn] = []
        while turn_id:
            if (session_id, turn_id) not in self.turns:
                raise BackendFailure("NOT_FOUND", "TURN_NOT_FOUND")
            path.append(self.turns[session_id, turn_id])
            turn_id = path[-1].parent_turn_id
        return path[::-1]

    def state(self, session_id: str, turn_id: str) -> state_pb2.State:
        """Return the state at a turn."""
        readings = [stimulus.reading for turn in self.path(session_id, turn_id) for stimulus in turn.stimuli]
        value = RESTING + 10 * sum(reading.valence for reading in readings)
        state = state_pb2.State(session_id=session_id, turn_id=turn_id, revision=len(self.facts))
        state.levels.add(name="dopamine", value=value, baseline=RESTING, band=state_pb2.BAND_STEADY)
        state.moods.add(name="warmth", intensity=0.1 * len(readings))
        return state

    def stimuli(self) -> list[str]:
        """Return the ids of everything that was felt, in the order of the turns."""
        return [stimulus.stimulus_id for turn in self.turns.values() for stimulus in turn.stimuli]

    def _record_turn(self, fact: state_pb2.RecordTurnRequest) -> Recorded:
        key = fact.session_id, fact.turn_id
        said, new = self.turns.get(key), False
        if said is None:
            parent = fact.parent_turn_id if fact.HasField("parent_turn_id") else self.tips[fact.session_id]
            self.path(fact.session_id, parent)
            new = True
            self.turns[key] = state_pb2.Turn(
                turn_id=fact.turn_id,
                parent_turn_id=parent,
                role=fact.role,
                text=fact.text if self._keeps_text else "",
                cut=fact.cut,
            )
            told_ns = fact.occurred_at.ToNanoseconds() if fact.HasField("occurred_at") else UNTOLD_NS
            self.turns[key].occurred_at.FromNanoseconds(told_ns)
            self.tips[fact.session_id] = fact.turn_id
        elif (
            (fact.HasField("parent_turn_id") and fact.parent_turn_id != said.parent_turn_id)
            or fact.role != said.role
            or (fact.HasField("occurred_at") and fact.occurred_at != said.occurred_at)
            or (self._keeps_text and fact.text != said.text)
            or fact.cut != said.cut
        ):
            raise BackendFailure("ALREADY_EXISTS", "TURN_EXISTS")
        for stimulus in fact.stimuli:
            new |= self._add(fact.session_id, fact.turn_id, stimulus)
        if new:
            self._accept(fact)
        return Recorded(self.state(*key), not new)

    def _add(self, session_id: str, turn_id: str, stimulus: state_pb2.Stimulus) -> bool:
        if (session_id, turn_id) not in self.turns:
            raise BackendFailure("NOT_FOUND", "TURN_NOT_FOUND")
        turn = self.turns[session_id, turn_id]
        known = next((one for one in turn.stimuli if one.stimulus_id == stimulus.stimulus_id), None)
        if known is None:
            turn.stimuli.append(stimulus)
            return True
        if known != stimulus:
            raise BackendFailure("ALREADY_EXISTS", "STIMULUS_EXISTS")
        return False

    def _accept(self, fact: Fact) -> None:
        copy = type(fact)()
        copy.MergeFrom(fact)  # type: ignore[arg-type]
        self.facts.append(copy)

    def _check_session(self, session_id: str) -> None:
        if session_id not in self.tips:
            raise BackendFailure("NOT_FOUND", "SESSION_NOT_FOUND")

    async def _arrive(self, method: str, timeout_s: float) -> None:
        self.calls.append(method)
        self.timeouts.append(timeout_s)
        for hold in (
            self.hold,
            self.hold_records if method == "record" else None,
            self.hold_lists if method == "list_turns" else None,
        ):
            if hold is not None:
                await hold.wait()
        failure = self.failure or self.refuse.get(method)
        if failure is not None:
            raise failure
